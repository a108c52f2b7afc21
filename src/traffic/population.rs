//! How many places for visitors an open load has, and which of them are free. Pure.
//!
//! An arrival draws one of all places; where that one is busy, the population grows, up to so many times the places that are
//! busy. What has made many busy passes (a stall of the service, or of the generator's machine), and then the places of that
//! moment would keep their connections for nothing: a place that was not needed in this [`SPAN`] nor in the one before is
//! surplus. Only the last place is ever given up, so that who goes does not depend on how fast an instance answers.

use rand::{Rng, RngExt};

use crate::record::Micros;

/// The most busy places are remembered for as long as this, and at most twice as long.
const SPAN: Micros = 10_000_000;

/// Bounds of a population.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// It begins with so many places.
    pub fewest: usize,
    /// It never has more.
    pub most: usize,
    /// Places to each that is busy before no more are made.
    pub per_busy: usize,
}

/// Where an arrival goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Choice {
    /// To this place, which was free.
    Free(usize),
    /// To a new place of this number.
    New(usize),
    /// Nowhere: every place is busy, and there may not be more.
    Full,
}

/// The places, numbered from 0.
pub struct Population {
    bounds: Bounds,
    free: FreeList,
    /// The most that were busy at a time: in this span, and in the one before.
    peaks: [usize; 2],
    span_ends: Micros,
}

impl Population {
    /// Nobody yet.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            free: FreeList::default(),
            peaks: [0; 2],
            span_ends: SPAN,
        }
    }

    /// One of all places, or a new one where that is busy.
    pub fn arrive(&mut self, draw: &mut impl Rng) -> Choice {
        let choice = self.choose(draw);
        self.peaks[0] = self.peaks[0].max(self.busy());
        choice
    }

    fn choose(&mut self, draw: &mut impl Rng) -> Choice {
        let Bounds {
            fewest,
            most,
            per_busy,
        } = self.bounds;
        let (all, busy) = (self.free.all(), self.busy());
        if all >= fewest.min(most) {
            let drawn = draw.random_range(0..all);
            if self.free.take(drawn) {
                return Choice::Free(drawn);
            }
            if all >= most || (all >= per_busy * busy && busy < all) {
                return self.free.take_any().map_or(Choice::Full, Choice::Free);
            }
        }
        self.free.grow();
        Choice::New(all)
    }

    fn busy(&self) -> usize {
        self.free.all() - self.free.len()
    }

    /// The journey at this place has ended.
    pub fn leave(&mut self, place: usize) {
        self.free.put(place);
    }

    /// Takes the last place away where it is free and more than what was needed lately; `now` never goes back.
    pub fn give_up(&mut self, now: Micros) -> bool {
        while now >= self.span_ends {
            self.peaks = [self.busy(), self.peaks[0]];
            self.span_ends += SPAN;
        }
        let needed = self.bounds.per_busy * self.peaks[0].max(self.peaks[1]);
        self.free.all() > needed.max(self.bounds.fewest) && self.free.shrink()
    }
}

/// Which places are free: any of them is found, taken and put back at once.
#[derive(Default)]
struct FreeList {
    free: Vec<usize>,
    /// Where a place stands in `free`.
    at: Vec<Option<usize>>,
}

impl FreeList {
    fn all(&self) -> usize {
        self.at.len()
    }

    fn len(&self) -> usize {
        self.free.len()
    }

    /// Makes room for one more place, which is busy.
    fn grow(&mut self) {
        self.at.push(None);
        self.free.reserve(self.at.len() - self.free.len());
    }

    /// Forgets the last place, if it is free.
    fn shrink(&mut self) -> bool {
        let last = self.at.len().checked_sub(1);
        let free = last.is_some_and(|last| self.take(last));
        if free {
            self.at.pop();
        }
        free
    }

    fn put(&mut self, place: usize) {
        self.at[place] = Some(self.free.len());
        self.free.push(place);
    }

    fn take(&mut self, place: usize) -> bool {
        let Some(at) = self.at[place].take() else {
            return false;
        };
        self.free.swap_remove(at);
        if let Some(moved) = self.free.get(at) {
            self.at[*moved] = Some(at);
        }
        true
    }

    fn take_any(&mut self) -> Option<usize> {
        let place = *self.free.last()?;
        self.take(place);
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use rand_pcg::Pcg64;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        fewest: 50,
        most: 1000,
        per_busy: 10,
    };

    struct Shop {
        population: Population,
        draw: Pcg64,
    }

    impl Shop {
        fn new(bounds: Bounds) -> Self {
            Self {
                population: Population::new(bounds),
                draw: Pcg64::new(1, 1),
            }
        }

        fn arrive(&mut self) -> Choice {
            self.population.arrive(&mut self.draw)
        }

        /// So many at once, who leave together.
        fn crowd(&mut self, visitors: usize) {
            let choices: Vec<Choice> = (0..visitors).map(|_| self.arrive()).collect();
            for choice in choices {
                match choice {
                    Choice::Free(place) | Choice::New(place) => self.population.leave(place),
                    Choice::Full => {}
                }
            }
        }

        fn all(&self) -> usize {
            self.population.free.all()
        }
    }

    #[test]
    fn it_grows_to_so_many_times_those_that_are_busy_and_never_beyond_the_most() {
        let mut shop = Shop::new(BOUNDS);
        for _ in 0..5_000 {
            shop.crowd(20);
        }
        // The twentieth finds nineteen busy.
        assert_eq!(shop.all(), 190);
        assert!((0..1000).all(|_| shop.arrive() != Choice::Full));
        assert_eq!((shop.arrive(), shop.all()), (Choice::Full, 1000));
    }

    #[test]
    fn what_a_stall_has_made_is_given_up_one_by_one_when_nobody_needs_it_any_longer() {
        let mut shop = Shop::new(BOUNDS);
        shop.crowd(800);
        let grown = shop.all();
        assert!(grown >= 800);
        // As long as the stall is in this span or the one before, all stay.
        for at in [1, SPAN - 1, SPAN, 2 * SPAN - 1] {
            assert!(!shop.population.give_up(at));
            shop.crowd(8);
        }
        assert!(shop.population.give_up(2 * SPAN));
        assert_eq!(shop.all(), grown - 1);
        while shop.population.give_up(2 * SPAN) {}
        assert_eq!(shop.all(), 80);
        // Ten spans in which nobody comes: the fewest stay.
        while shop.population.give_up(12 * SPAN) {}
        assert_eq!(shop.all(), 50);
    }

    #[test]
    fn a_place_that_is_busy_stays_until_it_is_free() {
        let mut shop = Shop::new(BOUNDS);
        let choices: Vec<Choice> = (0..700).map(|_| shop.arrive()).collect();
        let all = shop.all();
        let last = Choice::New(all - 1);
        assert!(choices.contains(&last));
        for choice in choices {
            match choice {
                Choice::Free(place) | Choice::New(place) if place != all - 1 => {
                    shop.population.leave(place);
                }
                _ => {}
            }
        }
        assert!(!shop.population.give_up(5 * SPAN));
        shop.population.leave(all - 1);
        assert!(shop.population.give_up(5 * SPAN));
        assert_eq!(shop.all(), all - 1);
    }
}
