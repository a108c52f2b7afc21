//! The addresses of the target's name.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Deals a name's addresses out to connections, one after the other.
///
/// The system gives all of them in one order, the same for each look-up (nearest first, as RFC 6724 sorts them): every
/// connection would go to the first, where the users of a service come from many places and spread over all.
#[derive(Debug, Default)]
pub struct Turns(AtomicUsize);

impl Turns {
    /// Puts the address whose turn it is in front. Those of the family that the system prefers take turns; the others
    /// stand in where none of them answers.
    pub fn next(&self, addresses: &mut [SocketAddr]) {
        let Some(first) = addresses.first().copied() else {
            return;
        };
        let alike = |address: &&SocketAddr| address.is_ipv4() == first.is_ipv4();
        let preferred = addresses.iter().take_while(alike).count();
        let turn = self.0.fetch_add(1, Ordering::Relaxed);
        addresses[..preferred].rotate_left(turn % preferred);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_preferred_family_take_turns() {
        let all = ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "[::1]:1"];
        let all = all.map(|address| address.parse::<SocketAddr>().unwrap());
        let turns = Turns::default();
        let firsts: Vec<usize> = (0..6)
            .map(|_| {
                let mut dealt = all;
                turns.next(&mut dealt);
                assert_eq!(dealt[3], all[3]);
                all.iter().position(|address| *address == dealt[0]).unwrap()
            })
            .collect();
        assert_eq!(firsts, [0, 1, 2, 0, 1, 2]);
        turns.next(&mut []);
    }
}
