//! The account that PostgreSQL runs as. It refuses to run as root, so a root process starts it as
//! the `postgres` account that its package makes; everybody else runs it as themselves.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

/// The account that PostgreSQL's Debian, Fedora and Alpine packages create.
const NAME: &str = "postgres";

/// Another account than the one this process runs as.
#[derive(Debug, Clone)]
pub(super) struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// The account for PostgreSQL; none when this process may run it itself.
    pub(super) fn for_postgres() -> anyhow::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let id = |flag| -> anyhow::Result<u32> {
            let output = Command::new("id").args([flag, NAME]).output().context("cannot run id")?;
            ensure!(
                output.status.success(),
                "PostgreSQL refuses to run as root, and there is no account `{NAME}` to run it \
                 as: install PostgreSQL (`make setup`) or start this as another user"
            );
            let id = String::from_utf8_lossy(&output.stdout);
            id.trim().parse().with_context(|| format!("`id {flag} {NAME}` said {id:?}"))
        };
        Ok(Some(Self { uid: id("-u")?, gid: id("-g")? }))
    }

    /// Makes a command run as this account, without root's further groups.
    pub(super) fn apply(&self, command: &mut Command) {
        // Setting the uid as root drops the supplementary groups too.
        command.gid(self.gid).uid(self.uid).env("HOME", "/");
    }

    /// Gives a file or folder to this account.
    pub(super) fn own(&self, path: &Path) -> anyhow::Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
            .with_context(|| format!("cannot give {} to {NAME}", path.display()))
    }

    /// Whether this account owns a file of that owner.
    pub(super) fn is_owner(&self, uid: u32) -> bool {
        self.uid == uid
    }

    /// The first folder on the way to `dir` that this account may not enter.
    pub(super) fn barred_at(&self, dir: &Path) -> anyhow::Result<Option<PathBuf>> {
        let mut ways: Vec<_> = dir.ancestors().collect();
        ways.reverse();
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", r#"for d; do test -x "$d" || { printf %s "$d"; exit 3; }; done"#, "sh"])
            .args(ways)
            .current_dir("/")
            .stdin(Stdio::null());
        self.apply(&mut command);
        let output = command.output().context("cannot run /bin/sh")?;
        match output.status.code() {
            Some(0) => Ok(None),
            Some(3) => Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned().into())),
            _ => bail!("cannot check {}: /bin/sh ended with {}", dir.display(), output.status),
        }
    }

    /// Says what to do if this account cannot reach `dir`.
    pub(super) fn must_reach(&self, dir: &Path) -> anyhow::Result<()> {
        let Some(bar) = self.barred_at(dir)? else {
            return Ok(());
        };
        let mode = fs::metadata(&bar).map_or(0, |meta| meta.permissions().mode() & 0o7777);
        bail!(
            "PostgreSQL refuses to run as root and therefore runs as `{NAME}`, but `{NAME}` cannot \
             enter {bar} (mode {mode:o}) on the way to {dir}: choose another data folder, for \
             example /var/lib/onsale, or allow it with `chmod o+x {bar}`",
            bar = bar.display(),
            dir = dir.display(),
        )
    }
}
