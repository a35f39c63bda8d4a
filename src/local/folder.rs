//! The folder that one set of private stores lives in: whose it is, who uses it right now, and
//! where its sockets are.
//!
//! ```text
//! <folder>/.onsale-data          marks the folder as ours: nothing else is ever emptied
//! <folder>/lock                  locked while a process uses the folder; holds its pid
//! <folder>/redis/                Redis: append-only files, redis.pid, redis.log, redis.sock
//! <folder>/postgres/             PostgreSQL: data/, postgres.log, .s.PGSQL.5432
//! ```

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::account::Account;
use super::leftover;
use super::throwaway::Throwaway;

const MARKER: &str = ".onsale-data";
const LOCK: &str = "lock";

/// The longest path of a unix socket: 107 bytes on Linux, 103 on a Mac.
const SOCKET_PATH_BYTES_MAX: usize = 103;

/// A data folder that this process, and no other, uses until the last clone is dropped.
#[derive(Debug, Clone)]
pub struct DataFolder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    lock: File,
    /// Set for a folder that is removed with this value.
    throwaway: Option<Throwaway>,
    /// Socket folders elsewhere.
    sockets: Mutex<Vec<PathBuf>>,
}

/// Where data goes unless somebody says where: into `data` in the folder `near`.
///
/// As root, PostgreSQL's account may not get there (a home folder of mode 700); then it is a
/// folder of its own under `/var/lib` for each `near`.
pub fn default_data_dir(near: &Path) -> anyhow::Result<PathBuf> {
    let near = near.canonicalize().with_context(|| format!("cannot find {}", near.display()))?;
    if let Some(account) = Account::for_postgres()?
        && account.barred_at(&near)?.is_some()
    {
        let name = format!("onsale-{}", short_digest(&near));
        return Ok(Path::new("/var/lib").join(name));
    }
    Ok(near.join("data"))
}

impl DataFolder {
    /// Opens, and if need be makes, a folder for data that stays.
    ///
    /// Servers that a killed process left running in it are stopped in order first.
    ///
    /// # Errors
    ///
    /// When another live process uses the folder, or when it holds something that is not ours.
    pub async fn open(dir: &Path) -> anyhow::Result<Self> {
        let named = |what: &str| format!("cannot {what} the data folder {}", dir.display());
        if !dir.exists() {
            fs::create_dir_all(dir).with_context(|| named("create"))?;
            open_to_the_account(dir).with_context(|| named("set the mode of"))?;
        }
        let root = dir.canonicalize().with_context(|| named("find"))?;
        ensure!(root.is_dir(), "{} is not a folder", root.display());
        must_be_ours(&root)?;
        let lock = take_lock(&root)?;
        fs::write(root.join(MARKER), "Private stores of onsale; `--reset` empties this folder.\n")
            .with_context(|| named("write to"))?;
        leftover::stop_all(&root).await?;
        Ok(Self::new(root, lock, None))
    }

    /// Makes an empty folder that is removed with its last clone, or else soon after this process
    /// has ended, however it ended.
    pub async fn throwaway() -> anyhow::Result<Self> {
        let account = Account::for_postgres()?;
        let parent = super::throwaway::parent(account.as_ref())?;
        super::throwaway::sweep(&parent).await;
        // The name that a sweep looks for is given when the lock is already held.
        let id = uuid::Uuid::new_v4().simple().to_string();
        let unnamed = parent.join(format!(".onsale-new-{id}"));
        let root = parent.join(format!("{}{}", super::throwaway::PREFIX, &id[..12]));
        DirBuilder::new().mode(0o700).create(&unnamed).context("cannot create a folder")?;
        open_to_the_account(&unnamed)?;
        let lock = take_lock(&unnamed)?;
        fs::write(unnamed.join(MARKER), "Throw-away stores of onsale.\n")?;
        fs::rename(&unnamed, &root).context("cannot rename a folder")?;
        let throwaway = Some(Throwaway::watch(&root)?);
        Ok(Self::new(root, lock, throwaway))
    }

    fn new(root: PathBuf, lock: File, throwaway: Option<Throwaway>) -> Self {
        Self(Arc::new(Inner { root, lock, throwaway, sockets: Mutex::default() }))
    }

    /// Removes everything in it: all data is lost.
    pub fn empty(&self) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.0.root)? {
            let entry = entry?;
            if entry.file_name() == LOCK || entry.file_name() == MARKER {
                continue;
            }
            let gone = if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())
            } else {
                fs::remove_file(entry.path())
            };
            gone.with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
        Ok(())
    }

    /// Its absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.root
    }

    /// Makes the part of one server, owned by the account that the server runs as.
    pub(super) fn part(&self, name: &str, account: Option<&Account>) -> anyhow::Result<PathBuf> {
        let part = self.0.root.join(name);
        if !part.exists() {
            DirBuilder::new()
                .mode(0o700)
                .create(&part)
                .with_context(|| format!("cannot create {}", part.display()))?;
        }
        if let Some(account) = account {
            account.must_reach(&self.0.root)?;
            account.own(&part)?;
        }
        Ok(part)
    }

    /// Where the socket of a part goes: into the part itself, unless its path is too long for a
    /// socket or cannot be written plainly in a URL; then into a short folder of its own.
    pub(super) fn socket_folder(
        &self,
        part: &Path,
        socket: &str,
        account: Option<&Account>,
    ) -> anyhow::Result<PathBuf> {
        if fits(part, socket) {
            return Ok(part.to_owned());
        }
        let name = format!("onsale-{}", short_digest(part));
        let parents = [std::env::temp_dir(), PathBuf::from("/tmp")];
        let parent = parents.iter().find(|parent| fits(&parent.join(&name), socket));
        let folder = parent.context("no folder is short enough for a socket")?.join(name);
        own_private_folder(&folder, account)?;
        if let Some(throwaway) = &self.0.throwaway {
            throwaway.also_remove(&folder);
        }
        self.0.sockets.lock().push(folder.clone());
        Ok(folder)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(throwaway) = self.throwaway.take() {
            throwaway.remove();
        }
        for folder in self.sockets.get_mut() {
            // Empty now, unless a server still runs or somebody keeps something there.
            let _ = fs::remove_dir(folder);
        }
        // Said aloud, because a child that is just being forked may share the open file.
        let _ = self.lock.unlock();
    }
}

/// A folder that root makes must let PostgreSQL's account pass through; the parts are private.
fn open_to_the_account(dir: &Path) -> std::io::Result<()> {
    let mode = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
    fs::set_permissions(dir, fs::Permissions::from_mode(mode))
}

fn must_be_ours(root: &Path) -> anyhow::Result<()> {
    if root.join(MARKER).is_file() {
        return Ok(());
    }
    for entry in fs::read_dir(root).with_context(|| format!("cannot read {}", root.display()))? {
        ensure!(
            entry?.file_name() == LOCK,
            "{} is not empty and was not made by onsale (it has no file {MARKER}): nothing in it \
             was touched; name another data folder",
            root.display()
        );
    }
    Ok(())
}

fn take_lock(root: &Path) -> anyhow::Result<File> {
    let path = root.join(LOCK);
    let named = || format!("cannot lock {}", path.display());
    let mut lock = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .with_context(named)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = lock.read_to_string(&mut holder);
            bail!(
                "another process (pid {}) uses the data folder {}: stop it first, or name another \
                 folder",
                holder.trim(),
                root.display()
            );
        }
        Err(TryLockError::Error(err)) => return Err(err).with_context(named),
    }
    lock.set_len(0).with_context(named)?;
    writeln!(lock, "{}", std::process::id()).with_context(named)?;
    Ok(lock)
}

fn fits(folder: &Path, socket: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    let bytes = folder.as_os_str().as_bytes();
    bytes.iter().all(plain) && bytes.len() + 1 + socket.len() <= SOCKET_PATH_BYTES_MAX
}

/// 16 hex digits that stand for a path.
fn short_digest(path: &Path) -> String {
    let digest = Sha256::digest(path.as_os_str().as_bytes());
    let head: [u8; 8] = std::array::from_fn(|at| digest[at]);
    format!("{:016x}", u64::from_be_bytes(head))
}

/// Makes a folder with a predictable name in a place where everybody may write; one that somebody
/// else made first is refused.
fn own_private_folder(folder: &Path, account: Option<&Account>) -> anyhow::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {
            if let Some(account) = account {
                account.own(folder)?;
            }
        }
        Err(err) if err.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(err) => return Err(err).with_context(|| format!("cannot create {}", folder.display())),
    }
    let meta = fs::symlink_metadata(folder)?;
    let expected = match account {
        Some(account) => account.is_owner(meta.uid()),
        None => meta.uid() == rustix::process::geteuid().as_raw(),
    };
    ensure!(
        meta.is_dir() && expected && meta.permissions().mode() & 0o777 == 0o700,
        "{} belongs to somebody else: remove it, or set TMPDIR to another folder",
        folder.display()
    );
    Ok(())
}
