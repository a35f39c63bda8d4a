//! Who serves which slots, as far as several servers agree: pure, no connections.
//!
//! Cluster nodes and Sentinels are asked all at once, and each may be behind: one that was cut off
//! still names itself. Both count their decisions, so of two claims to a slot the later one is
//! right; this is the cluster's own rule.

use std::ops::RangeInclusive;

use fred::types::Value;
use fred::types::config::Server;

/// How many slots there are, in every cluster.
pub(super) const SLOTS: usize = 16_384;

/// The index of nobody.
const NOBODY: u16 = u16::MAX;

/// What one server says of another: it serves these slots since a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub server: Server,
    pub decision: u64,
    pub slots: Vec<RangeInclusive<u16>>,
}

/// The servers that serve slots, and which one serves which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owners {
    servers: Vec<Server>,
    of_slot: Box<[u16]>,
}

impl Owners {
    /// Judges the claims; none if there are none.
    pub fn judge(claims: &[Claim]) -> Option<Self> {
        let mut best: Vec<Option<&Claim>> = vec![None; SLOTS];
        for claim in claims {
            for slot in claim.slots.iter().cloned().flatten() {
                let best = best.get_mut(usize::from(slot))?;
                if best.is_none_or(|best| best.decision < claim.decision) {
                    *best = Some(claim);
                }
            }
        }
        // In an order of their own, so that the same state compares as equal. Whoever claims only
        // what is another's by now is not among them: it serves nothing, and may be away.
        let mut servers: Vec<_> = best.iter().flatten().map(|claim| &claim.server).collect();
        servers.dedup();
        servers.sort();
        servers.dedup();
        let index = |claim: &Claim| {
            let index = servers.binary_search(&&claim.server).ok()?;
            u16::try_from(index).ok()
        };
        let of_slot = best.iter().map(|claim| claim.and_then(index).unwrap_or(NOBODY)).collect();
        let servers: Vec<_> = servers.into_iter().cloned().collect();
        (!servers.is_empty()).then_some(Self { servers, of_slot })
    }

    /// Everybody who serves something.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The index in [`Self::servers`] of the one that serves `slot`.
    pub fn index_of(&self, slot: u16) -> Option<usize> {
        let index = *self.of_slot.get(usize::from(slot))?;
        (index != NOBODY).then_some(usize::from(index))
    }
}

/// What a cluster node answered to `CLUSTER NODES`: one line for each node that it knows,
/// `<id> <ip>:<port>@<bus>[,<name>] <flags> <primary> <ping> <pong> <epoch> <link> <slots> …`.
///
/// `asked` is where it was asked: a node that never met another does not know its own address.
/// Certificates are for names, so with TLS nodes are called by theirs if they have one.
pub(super) fn claims_of_node(view: &str, asked: &Server, by_name: bool) -> Vec<Claim> {
    view.lines().filter_map(|line| claim_of_line(line, asked, by_name)).collect()
}

fn claim_of_line(line: &str, asked: &Server, by_name: bool) -> Option<Claim> {
    let mut words = line.split(' ').skip(1);
    let (address, flags) = (words.next()?, words.next()?);
    if !flags.split(',').any(|flag| flag == "master") {
        return None;
    }
    let decision = words.nth(3)?.parse().ok()?;
    // A slot on its way is in brackets, and is its old owner's until it has arrived.
    let slots: Vec<_> = words.skip(1).filter_map(range).collect();
    let (address, names) = address.split_once(',').unwrap_or((address, ""));
    let (ip, port) = address.split('@').next()?.rsplit_once(':')?;
    let name = names.split(',').next().filter(|name| by_name && !name.is_empty());
    let host = match name.unwrap_or(ip) {
        "" => asked.host.to_string(),
        host => host.to_owned(),
    };
    let server = Server::new(host, port.parse().ok()?);
    (!slots.is_empty()).then_some(Claim { server, decision, slots })
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (usize::from(last) < SLOTS).then_some(first..=last)
}

/// What a Sentinel answered to `SENTINEL GET-MASTER-ADDR-BY-NAME` and to `SENTINEL MASTER`: the one
/// primary of the service, and since which decision.
pub(super) fn claim_of_sentinel(address: Value, about: Value) -> Option<Claim> {
    let mut address = address.into_array().into_iter().filter_map(Value::into_string);
    let (host, port) = (address.next()?, address.next()?.parse().ok()?);
    let about = about.into_map().ok()?.inner();
    let decision = about.into_iter().find_map(|(name, value)| {
        (name.as_str() == Some("config-epoch")).then(|| value.into_string()?.parse().ok())?
    })?;
    let slots = vec![0..=u16::try_from(SLOTS - 1).ok()?];
    Some(Claim { server: Server::new(host, port), decision, slots })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEW: &str = "\
07c37df 127.0.0.1:30004@31004,node-4 slave e7d1eec 0 1426238317239 4 connected
67ed2db 127.0.0.1:30002@31002,node-2 master - 0 1426238316232 2 connected 5461-10922 [93->-292f8b3]
292f8b3 :30003@31003 myself,master - 0 1426238318243 3 connected 10923-16383 7
6ec2392 127.0.0.1:30005@31005 master,fail - 0 1426238316232 5 disconnected";

    fn claims(view: &str) -> Vec<Claim> {
        claims_of_node(view, &Server::new("10.0.0.9", 1), false)
    }

    fn owner(claims: &[Claim], slot: u16) -> Option<String> {
        let owners = Owners::judge(claims)?;
        Some(owners.servers()[owners.index_of(slot)?].to_string())
    }

    #[test]
    fn a_nodes_view_names_the_primaries_and_their_slots() {
        let claims = claims(VIEW);
        assert_eq!(owner(&claims, 5461).as_deref(), Some("127.0.0.1:30002"));
        assert_eq!(owner(&claims, 10_922).as_deref(), Some("127.0.0.1:30002"));
        assert_eq!(owner(&claims, 7).as_deref(), Some("10.0.0.9:30003"), "where it was asked");
        assert_eq!(owner(&claims, 93), None, "on its way from somewhere else");
        assert_eq!(Owners::judge(&[]), None);
    }

    #[test]
    fn with_tls_a_node_is_called_by_the_name_in_its_certificate() {
        let asked = Server::new("10.0.0.9", 1);
        let named: Vec<_> = claims_of_node(VIEW, &asked, true);
        assert_eq!(owner(&named, 5461).as_deref(), Some("node-2:30002"));
        assert_eq!(owner(&named, 7).as_deref(), Some("10.0.0.9:30003"));
    }

    /// The old primary was cut off, still answers, and is asked last.
    #[test]
    fn of_two_who_claim_a_slot_the_later_decision_is_right() {
        let mut all = claims("1 127.0.0.1:2@3 myself,master - 0 0 8 connected 0-100");
        all.extend(claims("2 127.0.0.1:1@3 myself,master - 0 0 7 connected 0-200"));
        for _ in 0..2 {
            assert_eq!(owner(&all, 100).as_deref(), Some("127.0.0.1:2"));
            assert_eq!(owner(&all, 101).as_deref(), Some("127.0.0.1:1"));
            all.reverse();
        }
        all.extend(claims("3 127.0.0.1:3@4 myself,master - 0 0 1 connected 0-200"));
        let serving = Owners::judge(&all).expect("owners").servers().len();
        assert_eq!(serving, 2, "who claims only what is another's serves nothing");
    }

    #[test]
    fn the_same_state_compares_as_equal_whoever_told_it() {
        let mut told = claims(VIEW);
        let one = Owners::judge(&told);
        told.reverse();
        assert_eq!(one, Owners::judge(&told));
    }

    #[test]
    fn a_sentinel_names_the_primary_and_the_decision() {
        let text = |text: &str| Value::from(text.to_owned());
        let about = |epoch: &str| {
            Value::Array(vec![text("name"), text("x"), text("config-epoch"), text(epoch)])
        };
        let claim = |port: &str, epoch: &str| {
            claim_of_sentinel(Value::Array(vec![text("10.0.0.1"), text(port)]), about(epoch))
        };
        let claims = [claim("7", "3").expect("a claim"), claim("8", "2").expect("a claim")];
        assert_eq!(owner(&claims, 0).as_deref(), Some("10.0.0.1:7"));
        assert_eq!(owner(&claims, 16_383).as_deref(), Some("10.0.0.1:7"));
        assert_eq!(claim_of_sentinel(Value::Null, about("1")), None, "it knows no such service");
    }
}
