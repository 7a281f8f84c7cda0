//! An amount that addresses share: connections, requests, bytes.
//!
//! Each address has a bound of its own, and all of them together have one. An address never gets more than what is still
//! free after that (the *dynamic threshold* of shared switch buffers), so that a few addresses never take everything:
//! however much they ask for, an address that holds nothing yet still finds room.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The amount. Clones share it.
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

/// Why nothing more is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// The address has all that one address may have.
    #[error("the bound of one address is exceeded")]
    Address,
    /// All addresses together hold too much.
    #[error("the bound of all addresses together is exceeded")]
    Total,
}

/// A part of a budget. It is given back when this is dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Budget,
    address: IpAddr,
    amount: usize,
    /// An address of many clients, for which only the total counts.
    shared: bool,
}

impl Budget {
    /// A budget of this much in total, and for each address.
    pub fn new(total: usize, per_address: usize) -> Self {
        Self(Arc::new(Inner { total, per_address, taken: Mutex::default() }))
    }

    /// Takes a part for an address.
    ///
    /// # Errors
    /// When the address, or all together, would hold too much.
    pub fn take(&self, address: IpAddr, amount: usize) -> Result<Charge, Exceeded> {
        self.charge(subscriber(address), false, amount)
    }

    /// Takes a part for an address behind which there are many clients: only the total counts.
    ///
    /// # Errors
    /// When all together would hold too much.
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
    /// Takes more.
    ///
    /// # Errors
    /// As [`Budget::take`]; the charge is then as it was.
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

    /// Gives back all but this much.
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

    /// How much it is.
    pub fn amount(&self) -> usize {
        self.amount
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// What stands for a subscriber: an IPv4 address, or the IPv6 network of 64 bits that one has.
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
    fn an_address_has_a_bound_and_others_go_on() {
        let budget = Budget::new(100, 10);
        let mut held = budget.take(address(1), 4).unwrap();
        held.grow(6).unwrap();
        assert_eq!(held.grow(1), Err(Exceeded::Address));
        assert_eq!(budget.take(address(1), 1).unwrap_err(), Exceeded::Address);
        assert!(budget.take(address(2), 10).is_ok());
        held.shrink_to(3);
        assert_eq!((held.amount(), taken(&budget)), (3, (3, 1)));
        drop(held);
        assert_eq!(taken(&budget), (0, 0), "nothing is kept of an address that holds nothing");
    }

    #[test]
    fn a_few_addresses_never_take_everything() {
        let budget = Budget::new(100, 100);
        let mut held = Vec::new();
        for _ in 0..100 {
            held.extend((1..=9).filter_map(|number| budget.take(address(number), 1).ok()));
        }
        assert_eq!(budget.take(address(1), 1).unwrap_err(), Exceeded::Total);
        assert!(budget.take(address(10), 1).is_ok(), "{} are taken", taken(&budget).0);
    }

    #[test]
    fn an_address_of_many_clients_may_have_the_total_and_no_more() {
        let budget = Budget::new(10, 2);
        let mut proxy = budget.take_shared(address(1), 9).unwrap();
        assert_eq!(proxy.grow(2), Err(Exceeded::Total));
        proxy.grow(1).unwrap();
        assert_eq!(budget.take(address(2), 1).unwrap_err(), Exceeded::Total);
    }

    #[test]
    fn one_subscriber_has_one_bound() {
        let of = |text: &str| subscriber(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
