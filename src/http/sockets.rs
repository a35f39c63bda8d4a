//! The listening socket and the process' limit of open files.

use std::io;
use std::net::SocketAddr;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket};

/// How many connections may wait to be accepted. The kernel cuts it to `net.core.somaxconn`.
///
/// A sale opens with thousands of connections in one second; a full backlog drops them silently,
/// and their clients try again after a second or three.
const BACKLOG: u32 = 4_096;

/// Listens on `address`, which another server may have left a moment ago; with `reuse_port` others
/// that say so may listen there too, and the kernel deals new connections out among them.
///
/// # Errors
///
/// The address is in use by somebody else or not of this machine.
pub fn listen(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(reuse_port)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Raises the soft limit of open files to the hard limit; answers what it is now.
///
/// Many systems start processes with 1,024, far below
/// [`connections_max`](super::HttpConfig::connections_max).
///
/// # Errors
///
/// The kernel refuses; the limit is as before.
pub fn raise_open_files_limit() -> io::Result<Option<u64>> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_limit() {
        let raised = raise_open_files_limit().unwrap();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, raised);
        assert_eq!(limit.current, limit.maximum);
    }

    #[tokio::test]
    async fn an_address_in_use_is_an_error() {
        let first = listen(([127, 0, 0, 1], 0).into(), false).unwrap();
        for reuse_port in [false, true] {
            assert!(listen(first.local_addr().unwrap(), reuse_port).is_err());
        }
    }

    #[tokio::test]
    async fn who_shares_a_port_shares_it_with_sharers_only() {
        let first = listen(([127, 0, 0, 1], 0).into(), true).unwrap();
        let address = first.local_addr().unwrap();
        let second = listen(address, true).unwrap();
        assert_eq!(second.local_addr().unwrap(), address);
        assert!(listen(address, false).is_err());
    }
}
