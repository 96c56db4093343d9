//! Who is served next: one queue per unit, one call of each in turn.
//!
//! A unit that asks much waits for itself. It can neither fill the queue of another nor make it
//! wait for more than one call of its own. There are as many queues as there are units with a
//! socket. Read next: [`super::store`].

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::name::UnitName;

/// Calls of one unit that may wait; more are refused, not queued.
pub const SHARE: usize = 64;

/// Why a call may not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// [`SHARE`] calls of the unit are waiting.
    Full,
    /// Nobody serves any more.
    Closed,
}

/// The queues; one side adds, the other waits for the next.
#[derive(Debug)]
pub struct Turns<T> {
    waiting: Mutex<Waiting<T>>,
    more: Condvar,
}

#[derive(Debug)]
struct Waiting<T> {
    by_unit: HashMap<UnitName, VecDeque<T>>,
    /// The units with calls, in the order in which they are served.
    order: VecDeque<UnitName>,
    closed: bool,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        let waiting = Waiting {
            by_unit: HashMap::new(),
            order: VecDeque::new(),
            closed: false,
        };
        Self {
            waiting: Mutex::new(waiting),
            more: Condvar::new(),
        }
    }
}

impl<T> Turns<T> {
    fn waiting(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a call at the end of its unit's queue.
    ///
    /// # Errors
    /// When the queue is full or closed.
    pub fn add(&self, unit: &UnitName, call: T) -> Result<(), Refused> {
        let mut waiting = self.waiting();
        if waiting.closed {
            return Err(Refused::Closed);
        }
        if let Some(queue) = waiting.by_unit.get_mut(unit) {
            if queue.len() >= SHARE {
                return Err(Refused::Full);
            }
            queue.push_back(call);
        } else {
            waiting.by_unit.insert(unit.clone(), VecDeque::from([call]));
            waiting.order.push_back(unit.clone());
        }
        drop(waiting);
        self.more.notify_one();
        Ok(())
    }

    /// Waits for the next call; `None` when it is closed and nothing is left.
    pub fn next(&self) -> Option<T> {
        let mut waiting = self.waiting();
        loop {
            if let Some(call) = waiting.take() {
                return Some(call);
            }
            if waiting.closed {
                return None;
            }
            waiting = self
                .more
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether no call waits.
    pub fn is_empty(&self) -> bool {
        self.waiting().order.is_empty()
    }

    /// Takes no more calls; those that wait are still served.
    pub fn close(&self) {
        self.waiting().closed = true;
        self.more.notify_one();
    }

    /// Takes no more calls and forgets those that wait.
    pub fn abandon(&self) {
        let mut waiting = self.waiting();
        waiting.closed = true;
        waiting.order.clear();
        let left = std::mem::take(&mut waiting.by_unit);
        drop(waiting);
        // Dropping a call may run code of its caller, which may want the lock.
        drop(left);
    }
}

impl<T> Waiting<T> {
    fn take(&mut self) -> Option<T> {
        let unit = self.order.pop_front()?;
        let queue = self.by_unit.get_mut(&unit)?;
        let call = queue.pop_front();
        if queue.is_empty() {
            self.by_unit.remove(&unit);
        } else {
            self.order.push_back(unit);
        }
        call
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str) -> UnitName {
        name.parse().unwrap()
    }

    #[test]
    fn each_unit_is_served_in_its_turn_and_has_a_share_of_its_own() {
        let turns = Turns::default();
        for number in 0..SHARE {
            turns.add(&unit("a.agent"), ("a", number)).unwrap();
        }
        assert_eq!(turns.add(&unit("a.agent"), ("a", 99)), Err(Refused::Full));
        turns.add(&unit("b.agent"), ("b", 0)).unwrap();
        turns.add(&unit("b.agent"), ("b", 1)).unwrap();
        turns.add(&unit("c.agent"), ("c", 0)).unwrap();
        let order: Vec<_> = (0..6).map(|_| turns.next().unwrap()).collect();
        assert_eq!(
            order,
            [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("b", 1), ("a", 2)]
        );
        for number in 3..SHARE {
            assert_eq!(turns.next(), Some(("a", number)));
        }
        assert!(turns.is_empty());
    }

    #[test]
    fn closed_serves_what_waits_and_abandoned_forgets_it() {
        let turns = Turns::default();
        turns.add(&unit("a.agent"), 1).unwrap();
        turns.close();
        assert_eq!(turns.add(&unit("a.agent"), 2), Err(Refused::Closed));
        assert_eq!((turns.next(), turns.next()), (Some(1), None));
        let turns = Turns::default();
        turns.add(&unit("a.agent"), 1).unwrap();
        turns.abandon();
        assert_eq!(turns.next(), None);
    }
}
