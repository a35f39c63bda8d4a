//! Mutants: servers without one of their protections, which the checker must find out:
//! `make mutants`. A checker that never found anything proves nothing.
//!
//! Each is run beside its control: the same stage, with the protection in place. Where several
//! protections stand against the same, the others are out in both runs, so that it is this one that
//! makes the difference. The control of a mutant that lacks nothing else is the server as it is,
//! and every invariant must hold.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use onsale::postgres::MIGRATOR;
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, SqlSafeStr};

pub mod list;
mod stages;

use crate::checker::Verdict;
use crate::stage::{Plan, Stage};
use list::{Mutant, Protection};
use stages::STAGES;

/// A repository without some protections.
pub struct Patched {
    /// What the servers are told.
    pub settings: Vec<(String, String)>,
    /// Brings a database to the patched schema, which servers take for the usual one.
    pub migrator: Migrator,
}

impl Patched {
    /// Patches; the scripts go to a folder below `folder`.
    pub fn new(out: &[&Protection], folder: &Path) -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut settings = Vec::new();
        let files = list::patched(root, out)?;
        if files.keys().any(|file| file.starts_with("lua/")) {
            let lua = folder.join("lua");
            copy(&root.join("lua"), &lua)?;
            settings.push(("ONSALE_LUA".to_owned(), lua.display().to_string()));
        }
        let lacking: Vec<_> =
            out.iter().filter(|protection| protection.in_rust).map(|it| it.name).collect();
        settings.push(("ONSALE_LACKS".to_owned(), lacking.join(",")));
        let mut migrations = MIGRATOR.migrations.to_vec();
        for (file, text) in files {
            match file.strip_prefix("migrations/") {
                None => std::fs::write(folder.join(file), text)?,
                Some(name) => {
                    let version: i64 = name.split('_').next().unwrap_or_default().parse()?;
                    let mut migrations = migrations.iter_mut();
                    let migration = migrations.find(|migration| migration.version == version);
                    // The checksum stays: the servers would refuse another one.
                    migration.with_context(|| format!("no migration {file}"))?.sql =
                        AssertSqlSafe(text).into_sql_str();
                }
            }
        }
        Ok(Self {
            settings,
            migrator: Migrator { migrations: migrations.into(), ..Migrator::DEFAULT },
        })
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// What a run showed.
#[derive(Debug, Clone)]
struct Shown {
    ops: usize,
    /// Invariant -> its first violation.
    broken: BTreeMap<&'static str, String>,
    history: PathBuf,
}

impl Shown {
    fn new(ops: usize, verdicts: Vec<Verdict>, history: PathBuf) -> Self {
        let broken = verdicts.into_iter().filter_map(|verdict| {
            Some((verdict.invariant, verdict.violations.into_iter().next()?))
        });
        Self { ops, broken: broken.collect(), history }
    }
}

/// Runs the mutants with these names, or all; whether each was found, and its control was clean.
pub async fn run(names: &str) -> anyhow::Result<bool> {
    ensure!(cfg!(feature = "mutants"), "servers with everything in place: --features mutants");
    let chosen = list::chosen(names)?;
    let mut runs = Runs::default();
    let mut lines = Vec::new();
    for mutant in chosen {
        let verdict = match runs.judge(mutant).await {
            Ok(verdict) => verdict,
            // Whatever it breaks, no invariant has told it.
            Err(error) => Judged {
                good: false,
                found_by: "-".to_owned(),
                ops: 0,
                said: format!("NOT FOUND: {error:#}"),
            },
        };
        println!("{}: {}", mutant.name(), verdict.said);
        lines.push((mutant, verdict));
    }
    println!(
        "\n{:<42} {:<13} {:<12} {:>10}  what was said first",
        "without", "stage", "found by", "operations"
    );
    for (mutant, verdict) in &lines {
        let Judged { found_by, ops, said, .. } = verdict;
        println!("{:<42} {:<13} {found_by:<12} {ops:>10}  {said}", mutant.name(), mutant.stage);
    }
    let found = lines.iter().filter(|(_, verdict)| verdict.good).count();
    println!(
        "\n{found} of {} mutants found, each beside a control that keeps what it breaks",
        lines.len()
    );
    Ok(found == lines.len())
}

/// What became of a mutant.
struct Judged {
    good: bool,
    found_by: String,
    ops: usize,
    said: String,
}

/// The runs so far: mutants share them where they can.
#[derive(Default)]
struct Runs(BTreeMap<(&'static str, Vec<&'static str>), Shown>);

impl Runs {
    async fn judge(&mut self, mutant: &Mutant) -> anyhow::Result<Judged> {
        let stage = STAGES.iter().find(|stage| stage.name == mutant.stage);
        let stage = stage.with_context(|| format!("no stage {}", mutant.stage))?;
        let control = self.shown(stage, mutant.besides.to_vec()).await?;
        let alone = mutant.besides.is_empty();
        let spoilt = control.broken.iter().find(|(name, _)| alone || mutant.keeps.contains(name));
        if let Some((name, what)) = spoilt {
            let history = control.history.display();
            let said = format!("the control is not clean: {name}: {what} ({history})");
            return Ok(Judged { good: false, found_by: "-".to_owned(), ops: control.ops, said });
        }
        let shown = self.shown(stage, mutant.out()).await?;
        let broken: Vec<_> = shown.broken.keys().copied().collect();
        let first = mutant.keeps.iter().find_map(|name| Some((name, shown.broken.get(name)?)));
        Ok(match first {
            Some((name, what)) => Judged {
                good: true,
                found_by: broken.join(" "),
                ops: shown.ops,
                said: format!("{name}: {what}"),
            },
            None => Judged {
                good: false,
                found_by: broken.join(" "),
                ops: shown.ops,
                said: format!("NOT FOUND: {}", shown.history.display()),
            },
        })
    }

    async fn shown(
        &mut self,
        stage: &Stage,
        out: Vec<&'static Protection>,
    ) -> anyhow::Result<Shown> {
        let mut names: Vec<_> = out.iter().map(|protection| protection.name).collect();
        names.sort_unstable();
        let key = (stage.name, names);
        if let Some(shown) = self.0.get(&key) {
            return Ok(shown.clone());
        }
        let without = if key.1.is_empty() { "nothing lacks".to_owned() } else { key.1.join(", ") };
        println!("\n== {}, seed {}; lacks: {without}", stage.name, stage.seed);
        let folder = format!("{} {without}", stage.name).replace(' ', "-").replace(',', "");
        let plan = Plan {
            stage: stage.clone(),
            out,
            folder: Path::new(env!("CARGO_MANIFEST_DIR")).join("target/mutants").join(folder),
        };
        let path = crate::run(&plan).await?;
        let history = crate::read(&path)?;
        let shown = Shown::new(history.ops.len(), crate::checker::check(&history), path);
        for (invariant, what) in &shown.broken {
            println!("  {invariant}: {what}");
        }
        if shown.ops == 0 {
            bail!("nobody did anything in {}", stage.name);
        }
        self.0.insert(key, shown.clone());
        Ok(shown)
    }
}
