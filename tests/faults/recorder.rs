//! Where everything that happens is written down, on one clock, while it happens.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::Context;

use crate::history::{Call, Entry, Op, Outcome};

/// Takes entries from anywhere; cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    started: Instant,
    ops: Arc<AtomicU64>,
    entries: mpsc::Sender<Entry>,
}

/// The thread that writes; it ends when the last [`Recorder`] is gone.
pub struct Writer(JoinHandle<std::io::Result<()>>);

/// Who sends a request, and through which server.
#[derive(Debug, Clone, Copy)]
pub struct Sender {
    pub client: u32,
    pub server: usize,
    pub user: u64,
}

impl Recorder {
    /// Writes to this file from now on.
    pub fn start(path: &Path) -> anyhow::Result<(Self, Writer)> {
        let file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let (entries, received) = mpsc::channel::<Entry>();
        let writer = std::thread::spawn(move || {
            let mut file = BufWriter::with_capacity(1 << 20, file);
            for entry in received {
                entry.write(&mut file)?;
            }
            std::io::Write::flush(&mut file)
        });
        let recorder = Self { started: Instant::now(), ops: Arc::default(), entries };
        Ok((recorder, Writer(writer)))
    }

    /// Microseconds on the clock of the run.
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// How many operations were recorded so far.
    pub fn ops(&self) -> u64 {
        self.ops.load(Ordering::Relaxed)
    }

    /// Writes one entry.
    pub fn note(&self, entry: Entry) {
        // The writer ends only after the last recorder, or with an error that its end tells.
        let _ = self.entries.send(entry);
    }

    /// Writes one operation that has just returned.
    pub fn op(&self, sender: Sender, invoked_us: u64, call: Call, outcome: Outcome) {
        let id = self.ops.fetch_add(1, Ordering::Relaxed);
        let Sender { client, server, user } = sender;
        let returned_us = self.now_us();
        self.note(Entry::Op(Op {
            id,
            client,
            server,
            user,
            invoked_us,
            returned_us,
            call,
            outcome,
        }));
    }
}

impl Writer {
    /// Waits until everything is in the file.
    pub fn finish(self) -> anyhow::Result<()> {
        let written = self.0.join().ok().context("the writer of the history broke")?;
        written.context("the history cannot be written")
    }
}
