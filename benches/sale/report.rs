//! The figures of a run, their targets, and both written forms.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use super::figures::{RouteRow, Spread};
use super::overload::{Overload, Phase};
use super::promotion::{Calls, PROMOTED, Promotions};
use super::rig::{self, version};
use super::targets::Target;

/// Everything that a run found.
#[derive(Debug, Serialize)]
pub struct Report {
    machine: String,
    versions: String,
    commit: String,
    command: String,
    /// People in the longest line.
    pub line: usize,
    pub routes: Vec<RouteRow>,
    pub limits: Vec<(String, Spread)>,
    pub growth: Vec<(String, Spread)>,
    pub promotion: Promotions,
    /// Redis bytes per waiting token, anonymous and named.
    pub memory: Option<[f64; 2]>,
    /// Redis commands of 1,000 polls, beside those of board and jobs.
    pub commands_of_polls: Option<f64>,
    /// Server bytes per idle connection.
    pub idle_bytes: Option<f64>,
    pub overload: Option<Overload>,
    /// What could not be measured, and why.
    pub failures: Vec<String>,
}

impl Report {
    /// A report without figures.
    pub fn new(command: String, line: usize) -> anyhow::Result<Self> {
        Ok(Self {
            machine: machine(),
            versions: format!(
                "{}, {}, {}",
                version("redis-server")?,
                version("pgbench")?,
                version("rustc")?
            ),
            commit: output("git", &["describe", "--always", "--dirty", "--abbrev=12"]),
            command,
            line,
            routes: Vec::new(),
            limits: Vec::new(),
            growth: Vec::new(),
            promotion: Promotions::default(),
            memory: None,
            commands_of_polls: None,
            idle_bytes: None,
            overload: None,
            failures: Vec::new(),
        })
    }

    /// The row of a route with so many connections.
    pub fn row_of(&mut self, name: &str, connections: usize) -> &mut RouteRow {
        let known = |row: &RouteRow| row.name == name && row.connections == connections;
        let index = self.routes.iter().position(known).unwrap_or_else(|| {
            self.routes.push(RouteRow::new(name, connections));
            self.routes.len() - 1
        });
        &mut self.routes[index]
    }

    /// What was measured, or nothing: then it is a failure of this run, which goes on.
    pub fn note<T>(&mut self, what: &str, measured: anyhow::Result<T>) -> Option<T> {
        let failed = |error: anyhow::Error| {
            eprintln!("{what}: {error:#}");
            self.failures.push(format!("{what}: {error:#}"));
        };
        measured.map_err(failed).ok()
    }

    /// Answers of routes that were not as expected, and what could not be measured.
    pub fn errors(&self) -> usize {
        self.routes.iter().map(|row| row.errors).sum::<usize>() + self.failures.len()
    }

    /// Writes `report.md` and `report.json`.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("report.md"), self.markdown())?;
        let json = serde_json::json!({ "report": self, "targets": self.targets() });
        std::fs::write(folder.join("report.json"), serde_json::to_string_pretty(&json)?)?;
        Ok(())
    }

    /// The report for people.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = self.write_markdown(&mut text);
        text
    }

    fn write_markdown(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "# Onsale beside its limits\n")?;
        writeln!(text, "* machine: {}", self.machine)?;
        writeln!(text, "* versions: {}", self.versions)?;
        writeln!(text, "* commit: {}", self.commit)?;
        writeln!(text, "* command: `{}`\n", self.command)?;
        writeln!(
            text,
            "Server, stores and load generator share the cores. A cell is the median of the"
        )?;
        writeln!(text, "rounds with the least and the greatest value.\n")?;
        for failure in &self.failures {
            writeln!(text, "**Failed: {failure}**\n")?;
        }
        writeln!(text, "## Targets\n\n| what | target | measured | met |\n|---|---|---|---|")?;
        for Target { what, wanted, measured, met } in self.targets() {
            let met = if met { "yes" } else { "**no**" };
            writeln!(text, "| {what} | {wanted} | {measured} | {met} |")?;
        }
        self.write_routes(text)?;
        for (title, named) in [("Limits of the stores", &self.limits), ("Growth", &self.growth)] {
            writeln!(text, "\n## {title}\n\n| what | per second |\n|---|---|")?;
            for (name, rate) in named {
                writeln!(text, "| {name} | {} |", rate.show(0))?;
            }
        }
        let promotion = &self.promotion;
        if !promotion.p99_with.is_empty() {
            writeln!(text, "\n{PROMOTED} people let in at once, 64 connections polling:")?;
            writeln!(
                text,
                "poll p99 {} µs without, {} µs with.",
                promotion.p99_without.show(0),
                promotion.p99_with.show(0)
            )?;
            writeln!(
                text,
                "\n| Redis meanwhile | script calls | slowest µs | all ms | ready, without a core ms |\n|---|---|---|---|---|"
            )?;
            for (beside, calls) in
                [("64 connections poll", &promotion.with_polls), ("nobody polls", &promotion.alone)]
            {
                let Calls { count, slowest_us, total_ms, without_a_core_ms } = calls;
                writeln!(
                    text,
                    "| {beside} | {} | {} | {} | {} |",
                    count.show(0),
                    slowest_us.show(0),
                    total_ms.show(1),
                    without_a_core_ms.show(1)
                )?;
            }
        }
        if let Some(overload) = &self.overload {
            writeln!(
                text,
                "\n## Past the limit\n\n| load | arrivals/s | 503/s | p99 ms | charges/s |\n|---|---|---|---|---|"
            )?;
            for Phase { load, answered, refused, p99_ms, charged } in &overload.phases {
                writeln!(
                    text,
                    "| {load} × | {answered:.0} | {refused:.0} | {p99_ms:.1} | {charged:.1} |"
                )?;
            }
        }
        Ok(())
    }

    fn write_routes(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "\n## Routes\n")?;
        writeln!(
            text,
            "| route | connections | requests/s | bare route/s | share | p50 ms | p99 ms | p99.9 ms | Redis µs | Redis commands | server µs | bare µs | generator µs | server MB | errors |"
        )?;
        writeln!(text, "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")?;
        for row in &self.routes {
            let millis = |spread: &Spread| spread.median() / 1e3;
            writeln!(
                text,
                "| {} | {} | {} | {:.0} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.3} | {:.1} | {:.1} | {:.1} | {:.0} | {} |",
                row.name,
                row.connections,
                row.rate.show(0),
                row.bare_rate.median(),
                row.share.show(2),
                millis(&row.p50_us),
                millis(&row.p99_us),
                millis(&row.p999_us),
                row.redis_us.median(),
                row.redis_commands.median(),
                row.server_us.median(),
                row.bare_us.median(),
                row.generator_us.median(),
                row.server_mb.median(),
                row.errors,
            )?;
        }
        Ok(())
    }
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let name = name.trim_start_matches([' ', '\t', ':']);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let kib: f64 = kib.trim().trim_end_matches(" kB").parse().unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores ({name}), {:.0} GiB", kib / 1_048_576.0)
}

fn output(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).current_dir(rig::project()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}
