//! What must hold for any bytes from outside: the properties that the fuzzers in `fuzz/` try to
//! break. Built for tests and fuzzers alone.
//!
//! Each function takes one input and fails by panicking. Inputs that reach something new are kept in
//! `fuzz/corpus/`, one folder per function, and the test below runs them all with every `cargo test`.
//! What an input means is said a second time, as plainly as can be ([`plain`], [`plain_json`]), and
//! the two must agree.

mod fields;
mod plain;
mod plain_json;
mod replies;
mod token;

pub use fields::{json_body, query_and_body};
pub use replies::redis_reply;
pub use token::token;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    type Property = fn(&[u8]);

    const TARGETS: [(&str, Property); 4] = [
        ("json_body", json_body),
        ("query_and_body", query_and_body),
        ("redis_reply", redis_reply),
        ("token", token),
    ];

    /// All that is committed of them, so that a checkout stays small.
    const FILES_MAX: usize = 200;
    const BYTES_MAX: usize = 200_000;

    fn names_in(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn every_input_that_a_fuzzer_has_kept_holds_what_must_hold() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let (mut files, mut bytes, mut faults) = (0, 0, Vec::new());
        for (target, holds) in TARGETS {
            let kept = names_in(&corpus.join(target));
            assert!(kept.len() >= 10, "{target} has {} inputs", kept.len());
            for name in kept {
                let input = std::fs::read(corpus.join(target).join(&name)).unwrap();
                (files, bytes) = (files + 1, bytes + input.len());
                if std::panic::catch_unwind(|| holds(&input)).is_err() {
                    faults.push(format!("{target}/{name}"));
                }
            }
        }
        assert!(faults.is_empty(), "these of fuzz/corpus/ show a fault: {faults:?}");
        assert!(files <= FILES_MAX && bytes <= BYTES_MAX, "{files} files, {bytes} bytes");
    }

    #[test]
    fn every_property_has_a_fuzzer_and_every_fuzzer_a_property() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let listed = TARGETS.map(|(target, _)| target.to_owned());
        let fuzzers: Vec<_> = names_in(&root.join("fuzz/fuzz_targets"))
            .iter()
            .map(|name| name.trim_end_matches(".rs").to_owned())
            .collect();
        assert_eq!(fuzzers, listed);
        assert_eq!(names_in(&root.join("fuzz/corpus")), listed);
    }
}
