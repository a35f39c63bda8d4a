//! `GET /metrics`: what Prometheus may know of this server and of every sale.
//!
//! A scrape asks no store: it reads counters of this process and the newest samples. Labels have few
//! values, all of them from this build, the catalogue or the configuration; none from a client.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::Operator;
use super::scripts::Sample;
use crate::app::{App, AppState};
use crate::concerts::Concert;
use crate::http::{AnyQuery, Problem};
use crate::metrics::Latencies;
use crate::{payments, postgres, seats};

/// `GET /metrics`: the text format of Prometheus.
///
/// Answers 200; 401 `unauthenticated` without the operators' token.
pub async fn show_metrics(
    _: Operator,
    State(app): State<AppState>,
    _: AnyQuery,
) -> Result<Response, Problem> {
    let mut registry = Registry::with_prefix("onsale");
    registry.register_collector(Box::new(Everything(app)));
    let mut text = String::with_capacity(64 * 1024);
    // Writing to a String cannot fail.
    let _ = prometheus_text::encode(&mut text, &registry);
    let headers = [(CONTENT_TYPE, prometheus_text::CONTENT_TYPE), (CACHE_CONTROL, "no-store")];
    Ok((headers, text).into_response())
}

type Labels = Vec<(&'static str, Cow<'static, str>)>;

/// Everything that there is to tell.
struct Everything(Arc<App>);

impl fmt::Debug for Everything {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Everything")
    }
}

impl Collector for Everything {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page(encoder);
        let app = &*self.0;
        requests(app, &mut page)?;
        sales(app, &mut page)?;
        redis(app, &mut page)?;
        database(app, &mut page)?;
        jobs(app, &mut page)
    }
}

/// The page that is written, metric by metric.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels, f64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in rows {
            with(&mut metric, &labels, |metric| metric.encode_gauge(&value))?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.gauges(name, help, [(Labels::new(), value)])
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in rows {
            with(&mut metric, &labels, |metric| {
                metric.encode_counter::<Labels, u64, f64>(&value, None)
            })?;
        }
        Ok(())
    }

    fn histograms(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels, Latencies)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, latencies) in rows {
            let bounds = Latencies::bounds().chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(latencies.counts).collect();
            let (seconds, count) = (latencies.seconds(), latencies.count());
            with(&mut metric, &labels, |metric| {
                metric.encode_histogram::<Labels>(seconds, count, &buckets, None)
            })?;
        }
        Ok(())
    }
}

fn with(
    metric: &mut MetricEncoder,
    labels: &Labels,
    encode: impl FnOnce(&mut MetricEncoder) -> fmt::Result,
) -> fmt::Result {
    if labels.is_empty() { encode(metric) } else { encode(&mut metric.encode_family(labels)?) }
}

/// One label.
fn one(name: &'static str, value: impl Into<Cow<'static, str>>) -> Labels {
    vec![(name, value.into())]
}

#[expect(clippy::cast_precision_loss, reason = "a gauge needs no 53rd bit")]
fn float(value: u64) -> f64 {
    value as f64
}

fn count(value: usize) -> f64 {
    float(value as u64)
}

fn requests(app: &App, page: &mut Page) -> fmt::Result {
    let routes = app.measures().map(crate::http::Measures::routes).unwrap_or_default();
    let labels = |measure: &crate::http::measures::RouteMeasure| -> Labels {
        vec![("route", measure.route.into()), ("method", measure.method.into())]
    };
    let by_status = routes.iter().flat_map(|measure| {
        measure.statuses.iter().map(move |(status, count)| {
            let status = if *status == 0 { "other".into() } else { status.to_string() };
            let mut labels = labels(measure);
            labels.push(("status", status.into()));
            (labels, *count)
        })
    });
    page.counters("requests", "Requests answered", by_status)?;
    let taken = routes.iter().map(|measure| (labels(measure), measure.latencies.clone()));
    page.histograms("request_seconds", "Time to the head of the answer", taken)?;
    let Some(measures) = app.measures() else {
        return Ok(());
    };
    let refusals = measures.refusals().into_iter();
    let refusals = refusals.map(|(code, count)| (one("code", code.as_str()), count));
    page.counters("refusals", "Problems answered, by their code", refusals)?;
    let (in_work, most) = measures.in_work();
    page.gauge("requests_in_work", "Requests in work, this one included", count(in_work))?;
    page.gauge("requests_in_work_max", "The most requests in work", count(most))
}

fn sales(app: &App, page: &mut Page) -> fmt::Result {
    type Read = fn(&Sample) -> Option<u64>;
    const GAUGES: [(&str, &str, Read); 8] = [
        ("waiting", "People in line", |sample| Some(sample.waiting)),
        ("active", "Active tokens that have not expired", |sample| Some(sample.active)),
        ("held_seats", "Seats that people hold, over all dates", |sample| Some(sample.held)),
        ("withheld_seats", "Seats held back from sale, over all dates", |sample| {
            Some(sample.withheld)
        }),
        ("sold_seats", "Seats sold, over all dates", |sample| Some(sample.sold)),
        ("servers", "Servers seen within a minute", |sample| Some(sample.servers)),
        ("estimated_wait_seconds", "What a newcomer is told to wait", |sample| sample.estimate),
        ("sample_timestamp_ms", "When this was read, on Redis' clock", |sample| {
            Some(sample.now_ms)
        }),
    ];
    let catalogue = app.concerts.load();
    let label = |concert: &Concert| one("concert", concert.id.to_string());
    let seats = catalogue.iter().map(|concert| (label(concert), float(concert.seats_total())));
    page.gauges("seats", "Seats there are, over all dates", seats)?;
    let verified = catalogue.iter().map(|concert| {
        let verified = app.gates.verified(concert.id).is_some();
        (label(concert), f64::from(u8::from(verified)))
    });
    page.gauges("verified", "1: its sold seats were compared with PostgreSQL", verified)?;
    let promoting = catalogue.iter().filter_map(|concert| {
        let promoting = app.queue.is_promoting(concert.id)?;
        Some((label(concert), f64::from(u8::from(promoting))))
    });
    page.gauges("promoting", "1: open, not paused, not sold out; while people ask", promoting)?;
    let known = catalogue.iter().filter_map(|concert| Some((concert, app.samples.of(concert.id)?)));
    let samples: Vec<_> = known.collect();
    for (name, help, read) in GAUGES {
        let rows = samples
            .iter()
            .filter_map(|(concert, sample)| Some((label(concert), float(read(sample)?))));
        page.gauges(name, help, rows)?;
    }
    let counts = samples.iter().flat_map(|(concert, sample)| {
        let labels = |name: &'static str| -> Labels {
            vec![("concert", concert.id.to_string().into()), ("event", name.into())]
        };
        sample.counters().into_iter().map(move |(name, count)| (labels(name), count))
    });
    page.counters("events", "What happened in a sale, since Redis was emptied", counts)
}

fn redis(app: &App, page: &mut Page) -> fmt::Result {
    let nodes = app.redis.nodes();
    let label = |name: &str| one("redis", name.to_owned());
    let up = nodes.iter().map(|node| (label(&node.name), f64::from(u8::from(node.up))));
    page.gauges("redis_up", "1: calls are sent to this Redis", up)?;
    let opened = nodes.iter().map(|node| (label(&node.name), node.breaker_opened));
    page.counters("redis_breaker_opened", "Too many calls in a row had failed", opened)?;
    let (in_flight, most) = app.redis.in_flight();
    page.gauge(
        "redis_calls_in_flight",
        "Calls to Redis that wait for an answer",
        count(in_flight),
    )?;
    page.gauge("redis_calls_in_flight_max", "The most calls to Redis in flight", count(most))?;
    let calls = app.redis.calls();
    let failed = calls.iter().map(|calls| (one("call", calls.name), calls.failed));
    page.counters("redis_call_failures", "Calls of a script or reads without an answer", failed)?;
    let taken = calls.iter().map(|calls| (one("call", calls.name), calls.latencies.clone()));
    page.histograms("redis_call_seconds", "Scripts and reads, from sent to answered", taken)
}

fn database(app: &App, page: &mut Page) -> fmt::Result {
    let pool = &app.database;
    let idle = pool.num_idle();
    let connections = usize::try_from(pool.size()).unwrap_or_default();
    let rows = [("idle", idle), ("used", connections.saturating_sub(idle))];
    let rows = rows.map(|(state, connections)| (one("state", state), count(connections)));
    page.gauges("postgres_connections", "Connections of the pool", rows)?;
    let most = f64::from(pool.options().get_max_connections());
    page.gauge("postgres_connections_max", "The most connections of the pool", most)?;
    let statements = [postgres::STATEMENTS, seats::STATEMENTS, payments::STATEMENTS].concat();
    let read = statements.iter().map(|statement| (statement.name, statement.calls.read()));
    let (mut taken, mut failures) = (Vec::new(), Vec::new());
    for (name, (latencies, failed)) in read {
        taken.push((one("statement", name), latencies));
        failures.push((one("statement", name), failed));
    }
    page.counters(
        "sql_failures",
        "Statements without an answer, or refused by accident",
        failures,
    )?;
    page.histograms("sql_seconds", "Statements, from sent to answered; acquire: the pool", taken)
}

fn jobs(app: &App, page: &mut Page) -> fmt::Result {
    let ages = app.jobs.ages().into_iter();
    let ages = ages.map(|(job, age)| (one("job_name", job), age.as_secs_f64()));
    page.gauges("job_age_seconds", "Since a job last succeeded", ages)?;
    let done = app.payments.reconciled();
    page.gauge(
        "payments_unfinished",
        "Payments that Redis did not know after the last run of the reconciler",
        float(done.unfinished),
    )?;
    let rows = [
        ("finished", done.finished),
        ("marked", done.marked),
        ("cleared", done.cleared),
        ("withheld", done.withheld),
        ("foreign_replay", app.payments.foreign_replays()),
    ];
    let rows = rows.map(|(what, count)| (one("what", what), count));
    page.counters("reconciled", "Differences between the stores that were mended", rows)?;
    let version = one("version", env!("CARGO_PKG_VERSION"));
    page.gauges("build_info", "1, with the version", [(version, 1.0)])
}
