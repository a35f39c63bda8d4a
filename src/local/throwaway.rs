//! Folders for tests and benches that go away by themselves.
//!
//! Three things see to that: the last clone of the folder removes it; a small shell process waits
//! for the end of this process and removes it then (values in `static`s are never dropped); and
//! each new throw-away folder removes those of dead processes that even the shell missed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use parking_lot::Mutex;

use super::account::Account;
use super::leftover;

/// How the names of throw-away folders begin.
pub(super) const PREFIX: &str = "onsale-test-";

/// Waits for the end of its input, which is the end of this process, lets the servers end (the
/// system tells them; where it does not, `ps` names them), and removes the folder.
const JANITOR: &str = r#"
trap '' INT HUP TERM
while read -r line; do set -- "$@" "$line"; done
for pid_file in "$1"/*/redis.pid "$1"/*/data/postmaster.pid; do
    read -r pid 2>/dev/null <"$pid_file" || continue
    ps -p "$pid" -o command= 2>/dev/null | grep -q -e redis-server -e postgres &&
        kill -QUIT "$pid" 2>/dev/null
done
for try in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf -- "$@" 2>/dev/null && exit
    sleep 0.3
done
"#;

/// The duty to remove a folder.
#[derive(Debug)]
pub(super) struct Throwaway {
    folders: Mutex<Vec<PathBuf>>,
    janitor: Mutex<Child>,
}

impl Throwaway {
    /// Has `root` removed when this process is gone.
    pub(super) fn watch(root: &Path) -> anyhow::Result<Self> {
        let janitor = Command::new("/bin/sh")
            .args([OsString::from("-c"), JANITOR.into(), "sh".into(), root.into()])
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run /bin/sh")?;
        Ok(Self { folders: Mutex::new(vec![root.to_owned()]), janitor: Mutex::new(janitor) })
    }

    /// One more folder that goes with it.
    pub(super) fn also_remove(&self, folder: &Path) {
        use std::io::Write;
        self.folders.lock().push(folder.to_owned());
        if let Some(input) = self.janitor.lock().stdin.as_mut() {
            // A janitor that is gone is made up for by the next sweep.
            let _ = writeln!(input, "{}", folder.display());
        }
    }

    /// Removes the folders now.
    pub(super) fn remove(self) {
        for folder in self.folders.into_inner() {
            let _ = fs::remove_dir_all(folder);
        }
        let mut janitor = self.janitor.into_inner();
        let _ = janitor.kill();
        let _ = janitor.wait();
    }
}

/// The folder for throw-away folders: the usual one, if PostgreSQL's account can get there.
pub(super) fn parent(account: Option<&Account>) -> anyhow::Result<PathBuf> {
    let usual = std::env::temp_dir();
    for parent in [usual, "/tmp".into(), "/var/tmp".into()] {
        let Ok(parent) = parent.canonicalize() else {
            continue;
        };
        let reachable = match account {
            Some(account) => account.barred_at(&parent)?.is_none(),
            None => true,
        };
        if reachable {
            return Ok(parent);
        }
    }
    anyhow::bail!("no folder for temporary files can be reached by PostgreSQL's account")
}

/// Removes throw-away folders whose process is gone, and stops what still runs in them.
pub(super) async fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let root = entry.path();
        let lock = File::options().write(true).open(root.join("lock"));
        // A folder that somebody uses is locked; one of another user cannot be opened.
        if lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
            leftover::kill_all(&root).await;
            let _ = fs::remove_dir_all(&root);
        }
    }
}
