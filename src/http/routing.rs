//! The table of routes: paths, handlers, and who goes first when a server is full.

use std::collections::BTreeMap;

use axum::Router;
use axum::http::{HeaderMap, Method};
use axum::response::Redirect;
use axum::routing::{MethodRouter, get};

use super::config::HttpConfig;
use super::files::File;
use super::front::Front;
use super::measures::{PathAnswers, Refusals};

/// Which requests are refused first when many are in work: of the later ones a server takes fewer.
///
/// Whoever is about to pay has waited longest and holds seats that nobody else can have; whoever
/// only arrives loses nothing by coming again in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Served whatever happens: a balancer that takes a busy server for a dead one sends its load
    /// to the others.
    Health,
    /// Operators: when a server is full is when they have to look.
    Operation,
    /// Money.
    Payment,
    /// Seats: dates, lists, holds.
    Seats,
    /// Where one stands.
    Status,
    /// The same, and seats, as streams: the only routes whose answers may go on.
    Stream,
    /// New places in a line.
    Arrival,
    /// Files of a page, and what it shows to everybody: whoever comes for the first time may come
    /// again. A page is many files, so they are not counted per address.
    Page,
}

impl Priority {
    /// How many requests may be in work, this one included, of at most `most`: all of them, 0.9,
    /// 0.8 or 0.7, and at least one.
    pub(super) const fn share(self, most: usize) -> usize {
        let tenths = match self {
            Self::Health => return usize::MAX,
            Self::Operation | Self::Payment => 10,
            Self::Seats => 9,
            Self::Status | Self::Stream => 8,
            Self::Arrival | Self::Page => 7,
        };
        let share = most / 10 * tenths + most % 10 * tenths / 10;
        if share == 0 { 1 } else { share }
    }
}

/// One path of the API, or one method of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// As it was written, such as `/concert/{id}`; never what a client sent.
    pub template: &'static str,
    /// The only method that is meant; none: all that have no row of their own.
    method: Option<Method>,
    /// Who goes first.
    pub priority: Priority,
}

impl Path {
    /// What no route has.
    pub(super) const UNKNOWN: Self =
        Self { template: "unknown", method: None, priority: Priority::Arrival };
}

/// Routes that are being put together.
#[derive(Debug)]
pub struct Routes<S> {
    router: Router<S>,
    paths: Vec<Path>,
    /// Of what is no part of the API.
    besides: Vec<Path>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// No route at all.
    #[must_use]
    pub fn new() -> Self {
        Self { router: Router::new(), paths: Vec::new(), besides: Vec::new() }
    }

    /// Adds the methods of one path; a path is added once.
    #[must_use]
    pub fn route(
        self,
        template: &'static str,
        priority: Priority,
        methods: MethodRouter<S>,
    ) -> Self {
        self.add(Path { template, method: None, priority }, methods)
    }

    /// Adds one method of a path whose other methods have another priority.
    #[must_use]
    pub fn route_of(
        self,
        method: Method,
        template: &'static str,
        priority: Priority,
        handler: MethodRouter<S>,
    ) -> Self {
        self.add(Path { template, method: Some(method), priority }, handler)
    }

    fn add(mut self, path: Path, methods: MethodRouter<S>) -> Self {
        self.router = self.router.route(path.template, methods);
        self.paths.push(path);
        self
    }

    /// Adds files, each at its own path. They are no part of the API: [`Self::paths`] has none.
    #[must_use]
    pub fn files(mut self, files: &'static [File]) -> Self {
        for file in files {
            let answer = get(async |headers: HeaderMap| file.answer(&headers));
            self = self.add_besides(file.path, answer);
        }
        self
    }

    /// Sends who asks for `path` on to `target`, which is relative to it, so that whatever a gateway
    /// put before the path stays (307, which no browser keeps). No part of the API either.
    #[must_use]
    pub fn redirect(self, path: &'static str, target: &'static str) -> Self {
        self.add_besides(path, get(async move || Redirect::temporary(target)))
    }

    fn add_besides(mut self, template: &'static str, methods: MethodRouter<S>) -> Self {
        self.router = self.router.route(template, methods);
        self.besides.push(Path { template, method: None, priority: Priority::Page });
        self
    }

    /// Every path of the API, in the order in which they were added.
    #[must_use]
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// Completes the table: every handler gets `state`.
    #[must_use]
    pub fn finish(self, state: S, config: &HttpConfig) -> Front {
        let paths = Paths::new(self.paths, self.besides);
        Front::new(self.router.with_state(state), paths, config)
    }
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self::new()
    }
}

/// The paths of a finished table, and what was answered.
pub(super) struct Paths {
    /// The API's first.
    known: Vec<KnownPath>,
    /// Which of them a path means, by the rules of axum's router, which matches with the same
    /// library; several if methods have rows of their own.
    by_path: matchit::Router<Vec<usize>>,
    unknown: KnownPath,
    /// What was refused, on whatever path.
    pub refusals: Refusals,
}

/// A path, and what was answered on it.
#[derive(Debug)]
pub(super) struct KnownPath {
    pub path: Path,
    pub answers: PathAnswers,
}

impl KnownPath {
    fn new(path: Path) -> Self {
        Self { path, answers: PathAnswers::default() }
    }
}

impl Paths {
    fn new(api: Vec<Path>, besides: Vec<Path>) -> Self {
        let known: Vec<_> = api.into_iter().chain(besides).map(KnownPath::new).collect();
        let mut rows: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (row, known) in known.iter().enumerate() {
            rows.entry(known.path.template).or_default().push(row);
        }
        let mut by_path = matchit::Router::new();
        for (template, rows) in rows {
            // What cannot be inserted here, axum's router has refused already.
            let _ = by_path.insert(template, rows);
        }
        let unknown = KnownPath::new(Path::UNKNOWN);
        Self { known, by_path, unknown, refusals: Refusals::new() }
    }

    /// What was answered on each, by its template.
    pub fn answers(&self) -> impl Iterator<Item = (&'static str, &PathAnswers)> {
        let all = self.known.iter().chain([&self.unknown]);
        all.map(|known| (known.path.template, &known.answers))
    }

    /// The one that a request means.
    pub fn find(&self, method: &Method, path: &str) -> &KnownPath {
        let Ok(found) = self.by_path.at(path) else {
            return &self.unknown;
        };
        let mut all_methods = None;
        for known in found.value.iter().filter_map(|row| self.known.get(*row)) {
            match &known.path.method {
                Some(only) if only == method => return known,
                Some(_) => {}
                None => all_methods = Some(known),
            }
        }
        all_methods.unwrap_or(&self.unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_by_its_segments() {
        let path = |template| Path { template, method: None, priority: Priority::Seats };
        let api = vec![path("/concert/reserve"), path("/concert/{id}/fairness")];
        let paths = Paths::new(api, vec![path("/page.css")]);
        let found = |path| &paths.find(&Method::GET, path).path;
        assert_eq!(found("/concert/reserve").template, "/concert/reserve");
        assert_eq!(found("/concert/7/fairness").template, "/concert/{id}/fairness");
        assert_eq!(found("/page.css").template, "/page.css");
        for unknown in ["/concert/7", "/concert/7/fairness/", "/", ""] {
            assert_eq!(found(unknown), &Path::UNKNOWN, "{unknown}");
        }
    }

    #[test]
    fn a_method_may_have_a_priority_of_its_own() {
        use axum::routing::{delete, post};
        let routes = Routes::<()>::new()
            .route_of(Method::DELETE, "/a", Priority::Seats, delete(|| async {}))
            .route("/a", Priority::Arrival, post(|| async {}));
        let paths = Paths::new(routes.paths, routes.besides);
        let priority = |method| paths.find(&method, "/a").path.priority;
        assert_eq!(priority(Method::DELETE), Priority::Seats);
        for other in [Method::POST, Method::GET, Method::HEAD] {
            assert_eq!(priority(other), Priority::Arrival);
        }
    }

    #[test]
    fn the_later_a_request_may_be_refused_the_more_room_it_has() {
        use Priority::{Arrival, Health, Payment, Seats, Status};
        let shares = |most| [Arrival, Status, Seats, Payment].map(|class| class.share(most));
        assert_eq!(shares(8_192), [5_734, 6_553, 7_372, 8_192]);
        assert_eq!(shares(10), [7, 8, 9, 10]);
        assert_eq!(shares(1), [1, 1, 1, 1]);
        assert_eq!(shares(usize::MAX)[3], usize::MAX);
        assert_eq!(Health.share(1), usize::MAX);
    }
}
