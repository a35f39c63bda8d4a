//! What the project wants of itself, beside what a run measured.

use serde::Serialize;

use super::figures::RouteRow;
use super::growth::IDLE;
use super::promotion::PROMOTED;
use super::report::Report;

/// One line of the table of targets.
#[derive(Debug, Serialize)]
pub struct Target {
    /// What is measured.
    pub what: String,
    /// What it should be.
    pub wanted: String,
    /// What it is.
    pub measured: String,
    /// Whether that is enough.
    pub met: bool,
}

impl Report {
    /// What the project wants of itself, as far as this run measured it.
    pub fn targets(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        self.shares(&mut targets);
        self.money(&mut targets);
        self.redis(&mut targets);
        self.crowd(&mut targets);
        self.overload(&mut targets);
        targets
    }

    fn shares(&self, targets: &mut Vec<Target>) {
        for (name, least) in [
            ("status, waiting", 0.90),
            ("token, anonymous", 0.70),
            ("token, named", 0.55),
            ("seats, 50", 0.60),
            ("seats, 50,000", 0.50),
            ("reserve, taken", 0.45),
            ("reserve, won", 0.20),
        ] {
            for row in self.routes.iter().filter(|row| row.name == name) {
                targets.push(Target {
                    what: format!("{name}, {} connections", row.connections),
                    wanted: format!("≥ {least:.2} × the bare route"),
                    measured: row.share.show(2),
                    met: row.share.median() >= least,
                });
            }
        }
    }

    fn money(&self, targets: &mut Vec<Target>) {
        for (name, least) in [("charge", 0.5), ("pay", 0.35)] {
            let row = self.row(name, 256).map(|row| &row.statement_share);
            if let Some(share) = row.filter(|share| !share.is_empty()) {
                targets.push(Target {
                    what: format!("{name}, 256 connections"),
                    wanted: format!("≥ {least:.2} × pgbench of its statement, 32 clients"),
                    measured: share.show(2),
                    met: share.median() >= least,
                });
            }
        }
    }

    fn redis(&self, targets: &mut Vec<Target>) {
        if let Some(commands) = self.commands_of_polls {
            targets.push(Target {
                what: "Redis commands per 1,000 polls of waiting tokens, beside board and jobs"
                    .into(),
                wanted: "0".into(),
                measured: format!("{commands:.2}"),
                met: commands < 0.5,
            });
        }
        for (name, most) in [("token, anonymous", 3.0), ("token, named", 5.0)] {
            if let Some(row) = self.row(name, 256) {
                targets.push(Target {
                    what: format!("Redis per arrival, {name}"),
                    wanted: format!("≤ {most} µs"),
                    measured: row.redis_us.show(2),
                    met: row.redis_us.median() <= most,
                });
            }
        }
        let kinds = [("anonymous", 110.0), ("named", 240.0)];
        for (bytes, (kind, most)) in self.memory.into_iter().flatten().zip(kinds) {
            targets.push(Target {
                what: format!("Redis memory per waiting token, {kind}"),
                wanted: format!("≤ {most} bytes"),
                measured: format!("{bytes:.0}"),
                met: bytes <= most,
            });
        }
    }

    fn crowd(&self, targets: &mut Vec<Target>) {
        for kind in ["poll", "arrival"] {
            let rate = |waiting: usize| {
                let name = format!("{kind}, {waiting} waiting");
                self.growth.iter().find(|(known, _)| *known == name).map(|(_, rate)| rate.median())
            };
            if let (Some(short), Some(long)) = (rate(self.line / 1_000), rate(self.line)) {
                let times = short / long;
                targets.push(Target {
                    what: format!("{kind}, {} → {} waiting", self.line / 1_000, self.line),
                    wanted: "≤ 1.3 × the cost".into(),
                    measured: format!("{times:.2}"),
                    met: times <= 1.3,
                });
            }
        }
        let promotion = &self.promotion;
        if !promotion.p99_with.is_empty() {
            let times = promotion.p99_with.median() / promotion.p99_without.median();
            targets.push(Target {
                what: format!("poll p99 while {PROMOTED} are let in"),
                wanted: "≤ 2 × without".into(),
                measured: format!("{times:.2}"),
                met: times <= 2.0,
            });
            for (calls, beside) in
                [(&promotion.with_polls, "64 connections poll"), (&promotion.alone, "nobody polls")]
            {
                targets.push(Target {
                    what: format!(
                        "slowest script call (p99.9 of {:.0}) while {PROMOTED} of {} are let in and {beside}",
                        calls.count.median(),
                        self.line
                    ),
                    wanted: "< 2 ms".into(),
                    measured: format!("{} µs", calls.slowest_us.show(0)),
                    met: calls.slowest_us.median() < 2_000.0,
                });
            }
        }
        if let Some(bytes) = self.idle_bytes {
            targets.push(Target {
                what: format!("{IDLE} idle connections"),
                wanted: "≤ 15 KB each".into(),
                measured: format!("{:.1} KB", bytes / 1e3),
                met: bytes <= 15_000.0,
            });
        }
    }

    fn overload(&self, targets: &mut Vec<Target>) {
        let Some(overload) = &self.overload else { return };
        let (Some(alone), Some(past)) = (overload.phases.first(), overload.phases.last()) else {
            return;
        };
        let mut target = |what: &str, wanted: &str, measured: String, met| {
            let what = format!("{what} at {} × the limit", past.load);
            targets.push(Target { what, wanted: wanted.into(), measured, met });
        };
        let goodput = past.answered / overload.peak();
        let measured = format!("{goodput:.2} of {:.0}/s", overload.peak());
        target("arrivals that get a place", "≥ 0.9 × the peak below it", measured, goodput >= 0.9);
        let refused = past.refused / (past.refused + past.answered);
        target(
            "all other arrivals, a fifth at least,",
            "503 with Retry-After",
            format!("{:.0}/s, and {} of anything else", past.refused, overload.wrong),
            overload.wrong == 0.0 && refused >= 0.2,
        );
        target(
            "arrivals that k6 could not send",
            "0",
            format!("{:.0}", overload.dropped),
            overload.dropped == 0.0,
        );
        target(
            "p99 of arrivals",
            "≤ 100 ms",
            format!("{:.1} ms", past.p99_ms),
            past.p99_ms <= 100.0,
        );
        let charges = past.charged / alone.charged;
        let measured = format!("{charges:.2} of {:.0}/s", alone.charged);
        target("charges", "≥ 0.9 × without arrivals", measured, charges >= 0.9);
    }

    fn row(&self, name: &str, connections: usize) -> Option<&RouteRow> {
        self.routes.iter().find(|row| row.name == name && row.connections == connections)
    }
}
