//! Places: how many connections a listener has, and how many of them one address may have.
//!
//! What must stay true: there are never more connections than descriptors were set aside for, so neither the commit log
//! nor a database ever finds none left; the admin listener has places of its own; one address does not get all places.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::{Descriptors, Metrics};

/// The places of the connections to one listener.
pub struct Places {
    max: usize,
    per_address: u32,
    trusted: Vec<Network>,
    taken: Mutex<Taken>,
    /// None if they are set aside.
    descriptors: Option<Arc<Descriptors>>,
    pub(super) metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, u32>,
}

/// The place of one connection. Dropping it gives it back.
pub struct Place {
    places: Arc<Places>,
    /// None for those that are not counted by address.
    address: Option<IpAddr>,
}

impl Places {
    /// Creates places for `max` connections, `per_address` of them for each address that is neither loopback nor
    /// trusted.
    pub fn new(
        max: usize,
        per_address: u32,
        trusted: Vec<Network>,
        descriptors: Arc<Descriptors>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let descriptors = Some(descriptors);
        Arc::new(Self { max, per_address, trusted, taken: Mutex::default(), descriptors, metrics })
    }

    /// Creates places whose descriptors are set aside.
    pub fn set_aside(max: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        let (per_address, trusted, descriptors) = (u32::MAX, Vec::new(), None);
        Arc::new(Self { max, per_address, trusted, taken: Mutex::default(), descriptors, metrics })
    }

    /// Takes a place for a connection from this address, or returns none if there is none for it.
    pub(super) fn take(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let from = from.to_canonical();
        let exempt = from.is_loopback() || self.trusted.iter().any(|network| network.contains(from));
        let address = (!exempt).then(|| counted_as(from));
        let mut taken = self.taken.lock();
        if taken.all >= self.max {
            return None;
        }
        let of_address = address.map_or(0, |address| taken.by_address.get(&address).copied().unwrap_or(0));
        let live = self.metrics.live_instances.get().max(0) as u64;
        if of_address >= self.per_address
            || self.descriptors.as_ref().is_some_and(|descriptors| !descriptors.take_connection(live))
        {
            return None;
        }
        if let Some(address) = address {
            taken.by_address.insert(address, of_address + 1);
        }
        taken.all += 1;
        self.metrics.connections.inc();
        Some(Place { places: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.all -= 1;
        self.places.descriptors.iter().for_each(|descriptors| descriptors.give_connection());
        self.places.metrics.connections.dec();
        if let Some(address) = self.address
            && let Some(of_address) = taken.by_address.get_mut(&address)
        {
            *of_address -= 1;
            if *of_address == 0 {
                taken.by_address.remove(&address);
            }
        }
    }
}

/// Returns the address by which connections are counted: an IPv6 client has all 2^64 addresses of its network.
fn counted_as(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// A network, written `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        let same = |a: u128, b: u128, bits: u32| (a ^ b).checked_shr(bits - self.prefix).unwrap_or(0) == 0;
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), Ipv4Addr::BITS),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), Ipv6Addr::BITS),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u32>().map_err(drop)?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(drop)?;
        let bits = if address.is_ipv4() { Ipv4Addr::BITS } else { Ipv6Addr::BITS };
        let prefix = prefix.unwrap_or(bits);
        if prefix <= bits { Ok(Self { address, prefix }) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn places(max: usize, per_address: u32, trusted: &[&str]) -> Arc<Places> {
        let trusted = trusted.iter().map(|network| network.parse().unwrap()).collect();
        Places::new(max, per_address, trusted, Arc::new(Descriptors::new(10_000, 100)), Arc::default())
    }

    #[test]
    fn one_address_does_not_get_all_places() {
        let places = places(5, 2, &["10.1.0.0/16"]);
        let take = |address| places.take(ip(address));
        let (a, b) = (take("192.0.2.1").unwrap(), take("192.0.2.1").unwrap());
        assert!(take("192.0.2.1").is_none() && take("::ffff:192.0.2.1").is_none());
        drop(a);
        let again = take("192.0.2.1").unwrap();
        let _trusted = ["10.1.2.3", "10.1.2.3", "10.1.2.3"].map(|address| take(address).unwrap());
        assert!(take("127.0.0.1").is_none(), "all places are taken");
        drop((b, again));
        let _loopback = [take("127.0.0.1").unwrap(), take("::1").unwrap()];
        assert!(take("192.0.2.9").is_none());
        assert_eq!(places.metrics.connections.get(), 5);
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let places = places(9, 1, &[]);
        let _first = places.take(ip("2001:db8::1")).unwrap();
        assert!(places.take(ip("2001:db8::2")).is_none());
        assert!(places.take(ip("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn networks_are_read() {
        let contains = |network: &str, address| network.parse::<Network>().unwrap().contains(ip(address));
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("10.0.0.1", "10.0.0.1") && !contains("10.0.0.1", "10.0.0.2"));
        assert!(contains("0.0.0.0/0", "1.2.3.4") && contains("::/0", "2001::1") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("fd00::/8", "fd12::1") && !contains("fd00::/8", "fe80::1"));
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "a/8", "10.0.0.0/", "::/129"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_connection_needs_a_descriptor_unless_its_place_is_set_aside() {
        let few = Arc::new(Descriptors::new(0, 4));
        assert!(Places::new(9, 9, Vec::new(), few, Arc::default()).take(ip("127.0.0.1")).is_none());
        let admin = Places::set_aside(1, Arc::default());
        assert!(admin.take(ip("127.0.0.1")).is_some());
    }
}
