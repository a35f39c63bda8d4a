//! Running scripts: by their hash, and what happens when Redis has forgotten them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use fred::bytes_utils::Str;
use fred::error::Error as FredError;
use fred::interfaces::LuaInterface;
use fred::prelude::ClientLike;
use fred::types::{ClusterHash, Value};
use futures::future::BoxFuture;

use super::client::{Command, classify};
use super::{Args, Redis, RedisError, Reply, ReplyFault, ScriptCall};

/// How often a call that meets `NOSCRIPT` lets the scripts be loaded again before it gives up.
const RELOADS_MAX: u32 = 3;

impl Redis {
    /// Sets what runs before the scripts are loaded into a Redis that has forgotten them.
    pub fn on_forgotten(
        &self,
        settle: impl Fn() -> BoxFuture<'static, Result<(), RedisError>> + Send + Sync + 'static,
    ) {
        *self.0.settle.write() = Some(std::sync::Arc::new(settle));
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
            let loads = self.0.loads.load(Ordering::Acquire);
            let command = evaluate("EVALSHA", script.sha().clone(), call, timeout);
            match self.send(command).await {
                Err(RedisError::Refused { source, .. }) if is_noscript(&source) => {
                    self.load_scripts(loads).await?;
                }
                reply => return decode::<C>(reply?),
            }
        }
        Err(RedisError::NotReady(format!("script {} is forgotten again and again", script.name)))
    }

    /// Runs `call` by its source: only for the step that must come before scripts are loaded.
    pub async fn run_unloaded<C: ScriptCall>(&self, call: &C) -> Result<C::Outcome, RedisError> {
        let command = evaluate("EVAL", Str::from_static(C::script().source), call, None);
        decode::<C>(self.send(command).await?)
    }

    /// Settles and loads all scripts, unless another call did since `seen` loads.
    async fn load_scripts(&self, seen: u64) -> Result<(), RedisError> {
        let _single_flight = self.0.loading.lock().await;
        if self.0.loads.load(Ordering::Acquire) != seen {
            return Ok(());
        }
        let settle = self.0.settle.read().clone();
        if let Some(settle) = settle {
            settle().await?;
        }
        for script in self.0.scripts {
            let loaded: Result<Value, FredError> = if self.0.client.is_clustered() {
                self.0.client.script_load_cluster(script.source).await
            } else {
                self.0.client.script_load(script.source).await
            };
            loaded.map_err(|source| classify(script.name, source))?;
        }
        self.0.loads.fetch_add(1, Ordering::Release);
        tracing::info!(scripts = self.0.scripts.len(), "loaded the scripts into Redis");
        Ok(())
    }
}

/// `EVALSHA` or `EVAL`, whose first argument says which script.
fn evaluate<C: ScriptCall>(
    name: &'static str,
    first: Str,
    call: &C,
    timeout: Option<Duration>,
) -> Command {
    let mut args = Args::default();
    call.write(&mut args);
    let what = C::script().name;
    let (hash, args) = (ClusterHash::Offset(2), args.into_command(first));
    Command { what, name, hash, args, timeout, only_reads: false }
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

fn is_noscript(error: &FredError) -> bool {
    error.details().starts_with("NOSCRIPT")
}
