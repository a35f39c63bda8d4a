//! Rules about the code that no compiler checks: what may name what, sizes, and that the header of
//! every Lua script says what the script does.

#![expect(clippy::expect_used, reason = "a test and its helpers fail by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// All files below `folder` with this extension, relative to the repository.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no {extension} files in {folder}");
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a text file")
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("a name")
}

/// The code of a Rust file: no comments, and nothing from its test module on.
fn code(text: &str) -> String {
    let before_tests = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let uncommented = before_tests.lines().filter(|line| !line.trim_start().starts_with("//"));
    uncommented.collect::<Vec<_>>().join("\n")
}

/// Whether `text` names the crate or module `word` in a path.
fn names(text: &str, word: &str) -> bool {
    let path = format!("{word}::");
    text.match_indices(&path).any(|(at, _)| {
        !text[..at]
            .ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':')
    })
}

#[test]
fn each_layer_names_only_what_it_may() {
    let rules: [(&str, &[&str]); 3] = [
        ("routes.rs", &["fred", "sqlx"]),
        ("service.rs", &["axum", "fred"]),
        ("domain.rs", &["axum", "fred", "sqlx", "tokio"]),
    ];
    for path in files("src", "rs") {
        let text = code(&read(&path));
        for (file, forbidden) in rules {
            for word in forbidden.iter().filter(|_| file_name(&path) == file) {
                assert!(!names(&text, word), "{} names {word}", path.display());
            }
        }
        let in_redis = path.components().any(|part| part.as_os_str() == "redis")
            // The stores' own tests show that the client library takes their URLs.
            || path.components().any(|part| part.as_os_str() == "tests");
        assert!(in_redis || !names(&text, "fred"), "{} names fred", path.display());
    }
}

#[test]
fn no_file_grows_past_one_purpose() {
    for path in files("src", "rs") {
        let lines = read(&path)
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default()
            .lines()
            .count();
        assert!(lines <= 400, "{} has {lines} lines: split it by meaning", path.display());
    }
    for path in files("lua", "lua") {
        let text = read(&path);
        let lines = text.split("]]").nth(1).unwrap_or_default().lines().count();
        assert!(lines <= 120, "{} has {lines} lines: split it by meaning", path.display());
    }
}

#[test]
fn every_rust_file_says_what_it_is() {
    for folder in ["src", "tests", "benches"] {
        if !Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).exists() {
            continue;
        }
        for path in files(folder, "rs") {
            assert!(read(&path).starts_with("//!"), "{} has no module doc", path.display());
        }
    }
}

/// The words in double quotes that stand where `{"word"` or `{ 'word'` starts a list.
fn tags(text: &str, open: &str, quote: char) -> BTreeSet<String> {
    text.split(open)
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix(quote)?.split(quote).next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_header_of_every_script_agrees_with_its_code() {
    for path in files("lua", "lua") {
        let (name, text) = (path.display(), read(&path));
        let (header, body) = text.split_once("]]").unwrap_or_else(|| panic!("{name}: no header"));
        for section in ["Why a script", "KEYS", "ARGV", "Returns", "A repeat", "Cost:"] {
            let said = header.contains(section)
                // The one script whose repetition is another tick.
                || (section == "A repeat" && header.contains("Repeated,"));
            assert!(said, "{name}: the header does not say {section:?}");
        }
        let returned = body
            .split("return")
            .skip(1)
            .filter_map(|rest| rest.trim_start().strip_prefix('{')?.trim_start().strip_prefix('\''))
            .filter_map(|rest| rest.split('\'').next())
            .map(str::to_owned)
            .chain(tags(body, "answer = {", '\''))
            .collect::<BTreeSet<_>>();
        let (_, promised) = header.split_once("Returns").unwrap_or_default();
        let promised = tags(promised, "{", '"');
        assert!(!promised.is_empty(), "{name}: the header promises no answer");
        assert_eq!(returned, promised, "{name}: tags in the code and in the header differ");
    }
}

#[test]
fn every_script_is_built_in_once() {
    let sources: String = files("src", "rs").iter().map(|path| read(path)).collect();
    for path in files("lua", "lua") {
        let folder = path.parent().map(file_name).unwrap_or_default();
        let include = format!("lua/{folder}/{}\"", file_name(&path));
        assert_eq!(sources.matches(&include).count(), 1, "{include} is not included exactly once");
        let name = format!("\"{folder}/{}\"", file_name(&path).trim_end_matches(".lua"));
        assert!(sources.contains(&name), "no LuaScript is named {name}");
    }
}

/// A script that calls KEYS or SCAN would stop every other call on a big database.
#[test]
fn no_script_walks_the_keyspace() {
    for path in files("lua", "lua") {
        for line in read(&path).lines().filter(|line| line.contains("redis.call")) {
            for command in ["'KEYS'", "'SCAN'", "'FLUSH"] {
                assert!(!line.contains(command), "{}: {line}", path.display());
            }
        }
    }
}

/// A crash point that no test passes shows nothing.
#[test]
fn every_crash_point_is_listed_and_has_a_test() {
    let sources: String = files("src", "rs").iter().map(|path| code(&read(path))).collect();
    let used = tags(&sources, "crash::point(", '"');
    let listed = onsale::crash::POINTS.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(used, listed, "the points in src/ and the list differ");
    let tests = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/crash.rs"));
    for name in onsale::crash::POINTS {
        assert!(tests.contains(&format!("_across_a_crash(\"{name}\"")), "no test of {name}");
    }
}

/// The README's table is written for people; this keeps it complete.
#[test]
fn the_readme_names_every_setting_with_its_default() {
    let readme = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    for setting in onsale::config::settings::SETTINGS {
        let row = readme
            .lines()
            .find(|line| line.starts_with(&format!("| `{}`", setting.variable())))
            .unwrap_or_else(|| panic!("no row for {}", setting.variable()));
        if let Some(default) = setting.default {
            assert!(row.contains(&format!("`{default}`")), "{row} does not name {default}");
        }
    }
}

/// Checks that every test and file that a page names exists; answers how many tests it names.
fn names_what_exists(page: &str) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = read(&root.join(page));
    let code: String =
        [files("src", "rs"), files("tests", "rs")].concat().iter().map(|path| read(path)).collect();
    let quoted = text.split('`').skip(1).step_by(2);
    let mut tests = 0;
    for word in quoted.filter(|word| !word.contains(' ')) {
        if word.matches('_').count() >= 4 && !word.starts_with("ONSALE_") {
            assert!(code.contains(&format!("fn {word}(")), "{page}: there is no test {word}");
            tests += 1;
        }
        if ["src/", "tests/", "lua/"].iter().any(|folder| word.starts_with(folder)) {
            assert!(root.join(word).exists(), "{page}: there is no {word}");
        }
    }
    tests
}

/// What a page says is shown by a test must be one.
#[test]
fn the_pages_on_security_and_reliability_name_tests_and_files_that_exist() {
    for (page, least) in [("docs/security.md", 20), ("docs/reliability.md", 60)] {
        let tests = names_what_exists(page);
        assert!(tests >= least, "{page} names {tests} tests");
    }
}

/// The table of faults is complete only if it names every kind of the harness and every test of faults.
#[test]
fn the_page_on_reliability_names_every_kind_of_fault_and_every_test_of_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = read(&root.join("docs/reliability.md"));
    let harness: String = files("tests/faults", "rs").iter().map(|path| read(path)).collect();
    let kinds = harness.split(" = \"").skip(1).filter(|rest| rest.contains("\", loss: "));
    let kinds: Vec<_> = kinds.filter_map(|rest| rest.split('"').next()).collect();
    let kinds = kinds.iter().filter(|kind| kind.contains('-'));
    for kind in kinds.clone() {
        assert!(page.contains(&format!("`{kind}`")), "the page does not name {kind}");
    }
    assert!(kinds.count() >= 20, "the kinds of the harness were not found");
    for path in files("tests/it/faults", "rs") {
        for test in read(&path).split("#[tokio::test").skip(1) {
            let name = test.split("async fn ").nth(1).and_then(|rest| rest.split('(').next());
            let name = name.expect("a test's name");
            assert!(page.contains(&format!("`{name}`")), "the page does not name {name}");
        }
    }
}

#[path = "faults/mutants/list.rs"]
mod mutants;

/// A mutant that cannot be made, or lacks nothing, shows nothing.
#[test]
fn every_mutant_can_be_made() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let stages = read(&root.join("tests/faults/mutants/stages.rs"));
    let mut in_rust = BTreeSet::new();
    for mutant in mutants::MUTANTS {
        let out = mutant.out();
        mutants::patched(root, &out).unwrap_or_else(|fault| panic!("{}: {fault}", mutant.name()));
        for protection in &out {
            assert_eq!(protection.patches.is_empty(), protection.in_rust, "{}", protection.name);
        }
        let words = out.iter().filter(|protection| protection.in_rust);
        in_rust.extend(words.map(|protection| protection.name.to_owned()));
        assert!(!mutant.keeps.is_empty(), "{} keeps nothing", mutant.name());
        let stage = format!("name: \"{}\"", mutant.stage);
        assert!(stages.contains(&stage), "{}: there is no {stage}", mutant.name());
    }
    let sources: String = files("src", "rs").iter().map(|path| code(&read(path))).collect();
    assert_eq!(
        tags(&sources, "mutant::lacks(", '"'),
        in_rust,
        "what src/ and the list name differs"
    );
}

#[test]
fn a_mutant_that_is_named_is_run_or_there_is_none_of_that_name() {
    let names = |names| {
        let chosen = mutants::chosen(names)?;
        anyhow::Ok(chosen.into_iter().map(mutants::Mutant::name).collect::<Vec<_>>())
    };
    assert_eq!(names("all").expect("all").len(), mutants::MUTANTS.len());
    assert_eq!(names("capacity,owner-check").expect("two"), ["capacity", "owner-check"]);
    let fault = names("capacity,owner-chek").expect_err("no such mutant").to_string();
    assert!(fault.starts_with("there is no mutant \"owner-chek\""), "{fault}");
    names("").expect_err("nothing is named");
}
