//! What browsers get: the files of `web/`, in the binary.
//!
//! One table, [`FILES`], says which file is served where. The files themselves are plain HTML, CSS
//! and JavaScript modules that a browser takes as they are: nothing is built, and nothing comes from
//! another host.
//!
//! # What is not here
//!
//! No state and no store: a page asks the API of `app`, as every other client.

use crate::http::files::{File, Policy};

/// Rows of path, name in `web/`, policy.
macro_rules! files {
    ($($path:literal = $name:literal, $policy:ident;)+) => {
        /// Every file that is served.
        pub static FILES: [File; [$($path),+].len()] = [$(File::new(
            $path,
            $name,
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/web/", $name)),
            Policy::$policy,
        ),)+];
    };
}

files! {
    "/" = "index.html", Strict;
    "/page.css" = "page.css", Strict;
    "/icon.svg" = "icon.svg", Strict;
    "/ops" = "ops.html", Strict;
    "/ops.css" = "ops.css", Strict;
    "/ops.js" = "ops.js", Strict;
    "/ops-chart.js" = "ops-chart.js", Strict;
    "/ops-controls.js" = "ops-controls.js", Strict;
    "/ops-desk.js" = "ops-desk.js", Strict;
    "/ops-figures.js" = "ops-figures.js", Strict;
    "/ops-people.js" = "ops-people.js", Strict;
    "/ops-seats.js" = "ops-seats.js", Strict;
    "/onsale.js" = "onsale.js", Strict;
    "/page/main.js" = "page/main.js", Strict;
    "/page/dom.js" = "page/dom.js", Strict;
    "/page/words.js" = "page/words.js", Strict;
    "/page/words/en.js" = "page/words/en.js", Strict;
    "/page/words/ko.js" = "page/words/ko.js", Strict;
    "/page/concerts.js" = "page/concerts.js", Strict;
    "/page/line.js" = "page/line.js", Strict;
    "/page/seats.js" = "page/seats.js", Strict;
    "/page/checkout.js" = "page/checkout.js", Strict;
    "/page/ticket.js" = "page/ticket.js", Strict;

    "/docs" = "docs/index.html", Docs;
    "/docs/docs.js" = "docs/docs.js", Docs;
    "/docs/docs.css" = "docs/docs.css", Docs;
    "/vendor/README.md" = "vendor/README.md", Strict;
    "/vendor/swagger-ui/swagger-ui.css" = "vendor/swagger-ui/swagger-ui.css", Docs;
    "/vendor/swagger-ui/swagger-ui-bundle.js" = "vendor/swagger-ui/swagger-ui-bundle.js", Docs;
    "/vendor/swagger-ui/swagger-ui-bundle.js.LICENSE.txt"
        = "vendor/swagger-ui/swagger-ui-bundle.js.LICENSE.txt", Strict;
    "/vendor/swagger-ui/LICENSE" = "vendor/swagger-ui/LICENSE", Strict;
    "/vendor/swagger-ui/NOTICE" = "vendor/swagger-ui/NOTICE", Strict;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::http::Code;

    /// The names of all files below `folder`, relative to `root`.
    fn names_below(root: &Path, folder: &Path, names: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                names_below(root, &path, names);
            } else {
                names.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }

    #[test]
    fn every_file_of_the_folder_is_served_once_and_at_a_path_of_its_own() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
        let mut names = BTreeSet::new();
        names_below(&root, &root, &mut names);
        let served: Vec<_> = FILES.iter().map(|file| file.name.to_owned()).collect();
        assert_eq!(served.len(), names.len(), "a file is served twice, or not at all");
        assert_eq!(served.into_iter().collect::<BTreeSet<_>>(), names);
        let paths: BTreeSet<_> = FILES.iter().map(|file| file.path).collect();
        assert_eq!(paths.len(), FILES.len());
    }

    /// Whoever reads the page is told every refusal in a sentence of its own, in both languages.
    #[test]
    fn every_language_has_a_sentence_for_every_code() {
        let words = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/page/words");
        for language in ["en.js", "ko.js"] {
            let text = std::fs::read_to_string(words.join(language)).unwrap();
            let (_, problems) = text.split_once("problems: {").unwrap();
            for code in Code::ALL.iter().map(|code| code.as_str()) {
                let quoted = problems.contains(&format!("        '{code}': "));
                let plain = problems.contains(&format!("        {code}: "));
                assert!(quoted || plain, "{language} has no sentence for {code}");
            }
        }
    }

    /// A page finds its files also where a gateway serves this server below a path of its own.
    #[test]
    fn no_file_names_another_by_an_absolute_path_or_another_host() {
        for file in &FILES {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("web").join(file.name);
            let own = !file.name.contains("vendor/");
            let Some(text) = std::fs::read_to_string(path).ok().filter(|_| own) else {
                continue;
            };
            let pointers = ["src=\"/", "href=\"/", "from '/", "url(/", "src=\"http", "href=\"http"];
            for pointer in pointers {
                assert!(!text.contains(pointer), "{} has {pointer}", file.name);
            }
        }
    }
}
