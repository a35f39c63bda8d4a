//! Named places at which a test lets this server die, as a power cut would.
//!
//! Compiled in only with the feature `crash-points`; otherwise [`point`] is nothing.

/// All points, in the order in which a request passes them.
pub const POINTS: [&str; 7] = [
    "reserve.before_hold",
    "reserve.after_hold",
    "reserve.after_confirm",
    "pay.before_begin",
    "pay.after_begin",
    "pay.after_commit",
    "pay.after_finish",
];

/// Kills this process with `SIGKILL` if `ONSALE_CRASH_AT` is `name`.
#[cfg(feature = "crash-points")]
pub fn point(name: &str) {
    if std::env::var("ONSALE_CRASH_AT").is_ok_and(|at| at == name) {
        // No destructor, no flush and no answer: nothing in this process may run any more.
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Nothing: crash points are compiled in only with the feature `crash-points`.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn point(_name: &str) {}
