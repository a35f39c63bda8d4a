//! What all clients know of the seats.

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::history::ConcertSetup;

/// So many free seats are wanted at a time, so that they are contended.
const WANTED: usize = 8;

/// A date, and the number of a seat.
type Seat = (String, u32);

/// What all clients know of the seats: which are still to be had, and which are gone.
pub struct Market {
    pub concerts: Vec<ConcertSetup>,
    free: Mutex<Vec<Vec<Seat>>>,
    gone: Mutex<Vec<Vec<Seat>>>,
}

impl Market {
    /// Everything is free.
    pub fn new(concerts: &[ConcertSetup]) -> Self {
        let free = concerts.iter().map(|concert| {
            let seats = |date: &String| {
                (1..=concert.seats).rev().map(|seat| (date.clone(), seat)).collect::<Vec<_>>()
            };
            concert.dates.iter().rev().flat_map(seats).collect()
        });
        let gone = Mutex::new(vec![Vec::new(); concerts.len()]);
        Self { concerts: concerts.to_vec(), free: Mutex::new(free.collect()), gone }
    }

    /// The seats that everybody wants, the first last.
    pub fn wanted(&self, concert: usize) -> Vec<Seat> {
        let free = self.free.lock();
        free[concert][free[concert].len().saturating_sub(WANTED)..].to_vec()
    }

    /// The seats that were bought last.
    pub fn last_sold(&self, concert: usize) -> Vec<Seat> {
        let gone = self.gone.lock();
        gone[concert].iter().rev().take(WANTED).cloned().collect()
    }

    /// A seat that somebody has bought.
    pub fn sold(&self, concert: usize, random: &mut StdRng) -> Option<Seat> {
        self.gone.lock()[concert].choose(random).cloned()
    }

    /// Somebody has bought it, or was told that it is sold.
    pub fn is_gone(&self, concert: usize, date: &str, seat: u64) {
        let mut free = self.free.lock();
        let is_it = |(day, number): &Seat| day == date && u64::from(*number) == seat;
        if let Some(at) = free[concert].iter().position(is_it) {
            let seat = free[concert].remove(at);
            self.gone.lock()[concert].push(seat);
        }
    }
}
