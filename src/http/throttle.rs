//! How often one client address may arrive and poll.
//!
//! Each address has a bucket that fills at the configured rate and holds [`BURST`] of it. What is
//! kept of a bucket is only the moment at which it will be full again, and a full bucket is the
//! same as none; so an entry whose moment has passed may be given to another address, and nothing
//! is lost. There is no clean-up and no clock but the server's monotonic one.
//!
//! Memory is fixed: [`SETS`] times [`WAYS`] entries per limit, about a megabyte. An address always
//! has the same set, by a hash that nobody outside can predict. When every entry of a set is in
//! use, the one that is nearest to full is given away: its address starts again with a full bucket.
//! So with more busy addresses than entries the limit errs on the side of letting somebody in; what
//! protects the server then is the limit of requests in work.
//!
//! Every set has a lock of its own, which is held for a look at eight entries. Nothing here waits
//! or allocates.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName};
use parking_lot::Mutex;

use super::config::HttpConfig;
use super::problem::{Code, Problem};
use super::routing::Priority;

/// The field to which each proxy appends the address that it was asked from.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// How much of the rate an address may use at once.
///
/// Thousands of people may share one address, and they all come in the second in which a sale
/// opens.
const BURST: Duration = Duration::from_secs(10);

const SETS: usize = 8_192;
const WAYS: usize = 8;

/// The limits of one server.
pub(super) struct Throttle {
    arrivals: Option<Buckets>,
    polls: Option<Buckets>,
    proxy_hops: usize,
}

impl Throttle {
    pub fn new(config: &HttpConfig) -> Self {
        Self {
            arrivals: Buckets::new(config.arrivals_per_address),
            polls: Buckets::new(config.polls_per_address),
            proxy_hops: config.proxy_hops,
        }
    }

    /// Counts a request of `peer` in.
    ///
    /// # Errors
    ///
    /// 429 with the time after which one more is taken.
    pub fn admit(
        &self,
        priority: Priority,
        peer: IpAddr,
        headers: &HeaderMap,
        now: Instant,
    ) -> Result<(), Problem> {
        let buckets = match priority {
            Priority::Arrival => &self.arrivals,
            Priority::Status | Priority::Stream => &self.polls,
            _ => return Ok(()),
        };
        let Some(buckets) = buckets else {
            return Ok(());
        };
        buckets.take(self.client(peer, headers), now).map_err(|wait| {
            Problem::new(Code::TooManyRequests)
                .detail("too many requests come from this address")
                .retry_after(wait)
        })
    }

    /// Whom a request of `peer` comes from.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Network {
        Network::of(client_address(peer, headers, self.proxy_hops))
    }
}

/// The address of whoever asked the outermost of `hops` trusted proxies.
///
/// Each of them appends the address it was asked from, so it is the `hops`-th from the end; what
/// stands before was written by the client and may be a lie. A field that is too short or not
/// understood did not come by way of the proxies: the socket's address is the truth then.
fn client_address(peer: IpAddr, headers: &HeaderMap, hops: usize) -> IpAddr {
    let Some(from_the_end) = hops.checked_sub(1) else {
        return peer;
    };
    let fields = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let mut addresses = fields.flat_map(|field| field.as_bytes().rsplit(|byte| *byte == b','));
    addresses.nth(from_the_end).and_then(read_address).unwrap_or(peer)
}

/// An address as proxies write it: alone, or with a port.
fn read_address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
}

/// What counts as one client: an IPv4 address, or the /64 that an IPv6 provider gives to one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Network(u64);

impl Network {
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            // The networks that these numbers would be in IPv6 are reserved.
            IpAddr::V4(address) => Self(address.to_bits().into()),
            IpAddr::V6(address) => Self(u64::try_from(address.to_bits() >> 64).unwrap_or(0)),
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    network: Network,
    /// Nanoseconds since [`Buckets::started`].
    full_at: u64,
}

/// One bucket per address.
struct Buckets {
    sets: Box<[Mutex<[Bucket; WAYS]>]>,
    hasher: RandomState,
    started: Instant,
    /// Nanoseconds in which a bucket gains one request.
    interval: u64,
}

impl Buckets {
    /// None for 0, which means no limit.
    fn new(per_second: u32) -> Option<Self> {
        let interval = 1_000_000_000_u64.checked_div(per_second.into())?.max(1);
        let sets = (0..SETS).map(|_| Mutex::default()).collect();
        Some(Self { sets, hasher: RandomState::new(), started: Instant::now(), interval })
    }

    /// Takes one request out of a bucket.
    ///
    /// # Errors
    ///
    /// It is empty: the time after which it is not.
    fn take(&self, network: Network, now: Instant) -> Result<(), Duration> {
        let now = nanos(now.saturating_duration_since(self.started));
        let mut set = self.set_of(network).lock();
        let known = set.iter().position(|bucket| bucket.network == network);
        let at = known.unwrap_or_else(|| nearest_to_full(&set));
        let full_at = if known.is_some() { set[at].full_at.max(now) } else { now };
        let full_at = full_at.saturating_add(self.interval);
        let spare = (now.saturating_add(nanos(BURST))).checked_sub(full_at);
        if spare.is_none() {
            return Err(Duration::from_nanos(full_at - now).saturating_sub(BURST));
        }
        set[at] = Bucket { network, full_at };
        Ok(())
    }

    fn set_of(&self, network: Network) -> &Mutex<[Bucket; WAYS]> {
        let hash = self.hasher.hash_one(network);
        &self.sets[usize::try_from(hash % SETS as u64).unwrap_or(0)]
    }
}

/// The entry that is worth least.
fn nearest_to_full(set: &[Bucket; WAYS]) -> usize {
    let by_moment = set.iter().enumerate().min_by_key(|(_, bucket)| bucket.full_at);
    by_moment.map_or(0, |(at, _)| at)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use rstest::rstest;

    use super::*;

    fn buckets(per_second: u32) -> Buckets {
        Buckets::new(per_second).unwrap()
    }

    fn network(address: &str) -> Network {
        Network::of(address.parse().unwrap())
    }

    /// How many of `tries` requests at `now` are taken.
    fn taken(buckets: &Buckets, address: &str, tries: usize, now: Instant) -> usize {
        (0..tries).filter(|_| buckets.take(network(address), now).is_ok()).count()
    }

    #[test]
    fn ten_seconds_of_the_rate_at_once_then_the_rate() {
        let buckets = buckets(5);
        let start = buckets.started;
        let after = |millis| start + Duration::from_millis(millis);
        assert_eq!(taken(&buckets, "192.0.2.1", 100, start), 50);
        assert_eq!(buckets.take(network("192.0.2.1"), start), Err(Duration::from_millis(200)));
        assert_eq!(taken(&buckets, "192.0.2.1", 100, after(199)), 0);
        assert_eq!(taken(&buckets, "192.0.2.1", 100, after(200)), 1);
        assert_eq!(taken(&buckets, "192.0.2.1", 100, after(1_200)), 5);
        assert_eq!(taken(&buckets, "192.0.2.1", 100, after(60_000)), 50, "and never more");
        assert_eq!(taken(&buckets, "192.0.2.2", 100, start), 50, "others have their own");
    }

    #[test]
    fn being_refused_costs_nothing() {
        let buckets = buckets(1);
        let start = buckets.started;
        assert_eq!(taken(&buckets, "192.0.2.1", 10_000, start), 10);
        assert_eq!(taken(&buckets, "192.0.2.1", 10, start + Duration::from_secs(1)), 1);
    }

    #[test]
    fn a_rate_above_the_clock_and_none_at_all_are_fine() {
        assert!(Buckets::new(0).is_none());
        let buckets = buckets(u32::MAX);
        assert_eq!(taken(&buckets, "192.0.2.1", 1_000, buckets.started), 1_000);
    }

    #[rstest]
    #[case("192.0.2.1", "192.0.2.2", false)]
    #[case("192.0.2.1", "::ffff:192.0.2.1", true)]
    #[case("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true)]
    #[case("2001:db8:1:2::1", "2001:db8:1:3::1", false)]
    #[case("::1", "127.0.0.1", false)]
    fn an_ipv4_address_or_an_ipv6_network_is_one_client(
        #[case] one: &str,
        #[case] other: &str,
        #[case] same: bool,
    ) {
        assert_eq!(network(one) == network(other), same);
    }

    /// More addresses than there are entries: memory stays, and the busiest stay limited.
    #[test]
    fn a_full_set_gives_away_the_entry_that_is_nearest_to_full() {
        let buckets = buckets(1);
        let now = buckets.started;
        // Addresses of one set: the first empties its bucket, the others take one each.
        let set = buckets.set_of(Network(1));
        let mut same_set =
            (1..).map(Network).filter(|network| std::ptr::eq(buckets.set_of(*network), set));
        let busy = same_set.next().unwrap();
        assert_eq!((0..20).filter(|_| buckets.take(busy, now).is_ok()).count(), 10);
        for quiet in same_set.take(3 * WAYS) {
            assert_eq!(buckets.take(quiet, now), Ok(()));
        }
        assert!(buckets.take(busy, now).is_err(), "whoever took most is not forgotten");
        assert_eq!(buckets.sets.len(), SETS);
    }

    #[rstest]
    // Nobody is trusted: whatever the client says.
    #[case(0, &["203.0.113.9"], "198.51.100.1")]
    // One proxy: it appended the last.
    #[case(1, &["203.0.113.9"], "203.0.113.9")]
    #[case(1, &["10.0.0.1, 203.0.113.9"], "203.0.113.9")]
    #[case(1, &["10.0.0.1", "203.0.113.9"], "203.0.113.9")]
    // Two: the inner one appended the outer one's.
    #[case(2, &["10.0.0.1,203.0.113.9,  172.16.0.1"], "203.0.113.9")]
    #[case(2, &["10.0.0.1, 203.0.113.9", "172.16.0.1"], "203.0.113.9")]
    // Forms that proxies use.
    #[case(1, &["203.0.113.9:4711"], "203.0.113.9")]
    #[case(1, &["2001:db8::9"], "2001:db8::9")]
    #[case(1, &["[2001:db8::9]"], "2001:db8::9")]
    #[case(1, &["[2001:db8::9]:4711"], "2001:db8::9")]
    // It did not come by way of the proxies.
    #[case(1, &[], "198.51.100.1")]
    #[case(2, &["203.0.113.9"], "198.51.100.1")]
    #[case(1, &["203.0.113.9, unknown"], "198.51.100.1")]
    #[case(1, &["203.0.113.9,"], "198.51.100.1")]
    #[case(1, &["203.0.113.9, \u{fc}"], "198.51.100.1")]
    fn the_client_is_whom_the_outermost_trusted_proxy_saw(
        #[case] hops: usize,
        #[case] fields: &[&str],
        #[case] expected: &str,
    ) {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(field.as_bytes()).unwrap());
        }
        let peer = "198.51.100.1".parse().unwrap();
        assert_eq!(client_address(peer, &headers, hops).to_string(), expected);
    }
}
