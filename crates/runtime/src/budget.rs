//! A limited resource that client addresses share: connections, requests, bytes.
//!
//! There is a limit per address and a limit in total. An address never holds more than what is still free afterwards (the
//! *dynamic threshold* of shared switch buffers). So a few addresses cannot take everything: however much they ask for, an
//! address that holds nothing yet still gets a share.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// A total limit and a limit per address. Clones share one state.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    total: usize,
    per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Which limit would be exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// The limit per address.
    #[error("the limit per address is exceeded")]
    Address,
    /// The total limit, or the share of it that one address may hold now.
    #[error("the total limit is exceeded")]
    Total,
}

/// A reserved part of a budget. Dropping it releases the part.
#[derive(Debug)]
pub struct Charge {
    budget: Budget,
    address: IpAddr,
    amount: usize,
    /// The address has many clients behind it: only the total limit applies.
    shared: bool,
}

impl Budget {
    /// A budget with these limits.
    pub fn new(total: usize, per_address: usize) -> Self {
        Self(Arc::new(Inner { total, per_address, taken: Mutex::default() }))
    }

    /// Reserves a part for an address.
    ///
    /// # Errors
    /// When the limit per address or the total limit would be exceeded.
    pub fn take(&self, address: IpAddr, amount: usize) -> Result<Charge, Exceeded> {
        self.charge(subscriber(address), false, amount)
    }

    /// Reserves a part for an address that has many clients behind it, such as a proxy: only the total limit applies.
    ///
    /// # Errors
    /// When the total limit would be exceeded.
    pub fn take_shared(&self, address: IpAddr, amount: usize) -> Result<Charge, Exceeded> {
        self.charge(subscriber(address), true, amount)
    }

    fn charge(&self, address: IpAddr, shared: bool, amount: usize) -> Result<Charge, Exceeded> {
        let mut charge = Charge { budget: self.clone(), address, amount: 0, shared };
        charge.grow(amount)?;
        Ok(charge)
    }
}

impl Charge {
    /// Reserves more.
    ///
    /// # Errors
    /// As [`Budget::take`]; the charge is then unchanged.
    pub fn grow(&mut self, more: usize) -> Result<(), Exceeded> {
        if more == 0 {
            return Ok(());
        }
        let Inner { total, per_address, taken } = &*self.budget.0;
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.by_address.get(&self.address).copied().unwrap_or_default().saturating_add(more);
        let Some(free) = total.checked_sub(taken.total.saturating_add(more)) else {
            return Err(Exceeded::Total);
        };
        if !self.shared && own > *per_address {
            return Err(Exceeded::Address);
        }
        if !self.shared && own > free {
            return Err(Exceeded::Total);
        }
        taken.total += more;
        taken.by_address.insert(self.address, own);
        self.amount += more;
        Ok(())
    }

    /// Releases everything above this amount.
    pub fn shrink_to(&mut self, amount: usize) {
        let less = self.amount.saturating_sub(amount);
        if less == 0 {
            return;
        }
        self.amount -= less;
        let mut taken = self.budget.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.total -= less;
        if let Some(own) = taken.by_address.get_mut(&self.address) {
            *own -= less;
            if *own == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }

    /// The reserved amount.
    pub fn amount(&self) -> usize {
        self.amount
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// The address that identifies one subscriber: an IPv4 address, or the /64 network of an IPv6 address.
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (!0 << 64))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, number])
    }

    fn taken(budget: &Budget) -> (usize, usize) {
        let taken = budget.0.taken.lock().unwrap();
        (taken.total, taken.by_address.len())
    }

    #[test]
    fn limits_an_address_without_affecting_others() {
        let budget = Budget::new(100, 10);
        let mut held = budget.take(address(1), 4).unwrap();
        held.grow(6).unwrap();
        assert_eq!(held.grow(1), Err(Exceeded::Address));
        assert_eq!(budget.take(address(1), 1).unwrap_err(), Exceeded::Address);
        assert!(budget.take(address(2), 10).is_ok());
        held.shrink_to(3);
        assert_eq!((held.amount(), taken(&budget)), (3, (3, 1)));
        drop(held);
        assert_eq!(taken(&budget), (0, 0), "an address that holds nothing is forgotten");
    }

    #[test]
    fn a_few_addresses_cannot_take_everything() {
        let budget = Budget::new(100, 100);
        let mut held = Vec::new();
        for _ in 0..100 {
            held.extend((1..=9).filter_map(|number| budget.take(address(number), 1).ok()));
        }
        assert_eq!(budget.take(address(1), 1).unwrap_err(), Exceeded::Total);
        assert!(budget.take(address(10), 1).is_ok(), "{} are taken", taken(&budget).0);
    }

    #[test]
    fn only_the_total_limits_a_shared_address() {
        let budget = Budget::new(10, 2);
        let mut proxy = budget.take_shared(address(1), 9).unwrap();
        assert_eq!(proxy.grow(2), Err(Exceeded::Total));
        proxy.grow(1).unwrap();
        assert_eq!(budget.take(address(2), 1).unwrap_err(), Exceeded::Total);
    }

    #[test]
    fn maps_an_address_to_its_subscriber() {
        let of = |text: &str| subscriber(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
