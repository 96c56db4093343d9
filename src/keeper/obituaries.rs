//! The dead of whom no daemon has taken note yet.
//!
//! Pure. Bounded: the oldest is dropped for a new one, and the caller told, to say so.

use std::collections::VecDeque;

use super::Obituary;

/// More than that many dead and unread are dropped, oldest first.
pub(super) const LIMIT: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct Obituaries {
    waiting: VecDeque<Obituary>,
    /// Of the last one recorded.
    last: u64,
    /// Of the last one told to the present daemon.
    told: u64,
}

impl Obituaries {
    /// Records a death; returns the one that had to make room.
    pub(super) fn record(&mut self, pid: u32, start: u64, status: i32) -> Option<Obituary> {
        let dropped = if self.waiting.len() >= LIMIT {
            self.waiting.pop_front()
        } else {
            None
        };
        self.last += 1;
        self.waiting.push_back(Obituary {
            sequence: self.last,
            pid,
            start,
            status,
        });
        dropped
    }

    /// The next to be told to the present daemon.
    pub(super) fn next(&self) -> Option<Obituary> {
        let at = self.waiting.partition_point(|o| o.sequence <= self.told);
        self.waiting.get(at).copied()
    }

    /// It was told.
    pub(super) fn told(&mut self, sequence: u64) {
        self.told = sequence;
    }

    /// It was noted: it and all before need not be kept. What was never told cannot be noted.
    pub(super) fn acknowledge(&mut self, sequence: u64) {
        let sequence = sequence.min(self.told);
        while self.waiting.front().is_some_and(|o| o.sequence <= sequence) {
            self.waiting.pop_front();
        }
    }

    /// There is a new daemon, which knows nothing.
    pub(super) fn start_over(&mut self) {
        self.told = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell_all(list: &mut Obituaries) -> Vec<u64> {
        std::iter::from_fn(|| {
            let next = list.next()?;
            list.told(next.sequence);
            Some(next.sequence)
        })
        .collect()
    }

    #[test]
    fn kept_until_acknowledged_and_told_again_to_each_daemon() {
        let mut list = Obituaries::default();
        for pid in 1..=3 {
            assert_eq!(list.record(pid, 0, 0), None);
        }
        list.acknowledge(3);
        assert_eq!(tell_all(&mut list), [1, 2, 3], "not told, so not noted");
        assert_eq!(tell_all(&mut list), [] as [u64; 0]);
        list.acknowledge(2);
        list.start_over();
        assert_eq!(tell_all(&mut list), [3]);
        list.acknowledge(u64::MAX);
        list.start_over();
        assert_eq!(list.next(), None);
        list.record(4, 0, 0);
        assert_eq!(tell_all(&mut list), [4]);
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut list = Obituaries::default();
        for pid in 0..u32::try_from(LIMIT).unwrap() {
            assert_eq!(list.record(pid, 0, 0), None);
        }
        assert_eq!(list.record(0, 0, 0).unwrap().sequence, 1);
        assert_eq!(list.waiting.len(), LIMIT);
        assert_eq!(list.next().unwrap().sequence, 2);
    }
}
