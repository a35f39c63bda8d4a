//! Running scripts: by their hash, and what happens when Redis has forgotten them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fred::bytes_utils::Str;
use fred::types::Value;
use futures::future::BoxFuture;

use super::client::Command;
use super::node::Node;
use super::{Args, Redis, RedisError, Reply, ReplyFault, ScriptCall, Shard};

/// How often a call that meets `NOSCRIPT` lets the scripts be loaded again before it gives up.
const RELOADS_MAX: u32 = 3;

impl Redis {
    /// Sets what runs before the scripts are loaded into a Redis that has forgotten them.
    pub fn on_forgotten(
        &self,
        settle: impl Fn(Shard) -> BoxFuture<'static, Result<(), RedisError>> + Send + Sync + 'static,
    ) {
        *self.0.settle.write() = Some(Arc::new(settle));
    }

    /// Runs `call` with the usual timeout.
    ///
    /// # Errors
    ///
    /// See [`RedisError`]; after [`RedisError::Lost`] the script may have run.
    pub async fn run<C: ScriptCall>(&self, call: &C) -> Result<C::Outcome, RedisError> {
        self.run_for(call, None).await
    }

    /// Runs `call` with a timeout of its own, for the few scripts that move much data.
    pub async fn run_within<C: ScriptCall>(
        &self,
        call: &C,
        timeout: Duration,
    ) -> Result<C::Outcome, RedisError> {
        self.run_for(call, Some(timeout)).await
    }

    async fn run_for<C: ScriptCall>(
        &self,
        call: &C,
        timeout: Option<Duration>,
    ) -> Result<C::Outcome, RedisError> {
        let script = C::script();
        for _ in 0..RELOADS_MAX {
            let command = self.evaluate("EVALSHA", script.sha().clone(), call, timeout);
            let node = self.node_of(command.key())?;
            let loads = node.loads.load(Ordering::Acquire);
            let key = if self.is_cluster() { command.key().to_owned() } else { String::new() };
            let sent = Instant::now();
            match self.send(command).await {
                Err(error) if error.is_refusal("NOSCRIPT") => {
                    let refused_by = self.node_of(&key)?;
                    // A call that followed its slot says nothing of how often the other one loaded.
                    let is_same = Arc::ptr_eq(&node, &refused_by);
                    self.load_scripts(&refused_by, is_same.then_some(loads)).await?;
                }
                reply => return counted::<C>(sent, reply),
            }
        }
        Err(RedisError::NotReady(format!("script {} is forgotten again and again", script.name)))
    }

    /// Runs `call` by its source: only for the step that must come before scripts are loaded.
    pub async fn run_unloaded<C: ScriptCall>(&self, call: &C) -> Result<C::Outcome, RedisError> {
        let source = Str::from_static(C::script().source());
        let command = self.evaluate("EVAL", source, call, None);
        let sent = Instant::now();
        counted::<C>(sent, self.send(command).await)
    }

    /// Settles the lines of `node` and loads all scripts into it, unless another call did since
    /// `seen` loads.
    async fn load_scripts(&self, node: &Arc<Node>, seen: Option<u64>) -> Result<(), RedisError> {
        // Read before the wait: whoever waits here needs no load of his own.
        let seen = seen.unwrap_or_else(|| node.loads.load(Ordering::Acquire));
        let _single_flight = node.loading.lock().await;
        if node.loads.load(Ordering::Acquire) != seen {
            return Ok(());
        }
        let settle = self.0.settle.read().clone();
        if let Some(settle) = settle {
            settle(self.shard(node)).await?;
        }
        for script in self.0.scripts {
            let source = Value::from_static_str(script.source());
            let load = Command::of_server("SCRIPT", vec![Value::from_static_str("LOAD"), source]);
            self.send_to(node, Command { what: script.name, ..load }).await?;
        }
        node.loads.fetch_add(1, Ordering::Release);
        tracing::info!(scripts = self.0.scripts.len(), redis = node.name, "loaded the scripts");
        Ok(())
    }

    /// `EVALSHA` or `EVAL`, whose first argument says which script.
    fn evaluate<C: ScriptCall>(
        &self,
        name: &'static str,
        first: Str,
        call: &C,
        timeout: Option<Duration>,
    ) -> Command {
        let mut args = Args::default();
        call.write(&mut args);
        if self.is_cluster() && !C::script().only_reads() {
            args.key_that_never_is();
        }
        let (what, key_at) = (C::script().name, 2);
        let args = args.into_command(first);
        Command { what, name, key_at, args, timeout, only_reads: false }
    }
}

/// Decodes the answer of a script, and counts how the call went.
fn counted<C: ScriptCall>(
    sent: Instant,
    reply: Result<Value, RedisError>,
) -> Result<C::Outcome, RedisError> {
    let outcome = reply.and_then(decode::<C>);
    match &outcome {
        Ok(_) => C::script().calls.answered(sent.elapsed()),
        Err(_) => C::script().calls.failed(),
    }
    outcome
}

fn decode<C: ScriptCall>(value: Value) -> Result<C::Outcome, RedisError> {
    read_answer::<C>(value).map_err(|source| RedisError::Reply { script: C::script().name, source })
}

/// What a script answered, by its decoder.
pub(super) fn read_answer<C: ScriptCall>(value: Value) -> Result<C::Outcome, ReplyFault> {
    let mut reply = Reply::new(value)?;
    let tag = reply.text()?;
    C::decode(&tag, reply)
}
