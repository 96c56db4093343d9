//! How long to wait before the daemon is started again.
//!
//! Pure. 100 ms after the first death, doubled each time up to 10 s; a daemon that lived for a
//! minute begins anew. There is no "give up": without a daemon nobody could change anything.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(10);
const GOOD: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Backoff {
    deaths: u32,
}

impl Backoff {
    /// The delay after a daemon that lived so long.
    pub(super) fn after(&mut self, lived: Duration) -> Duration {
        if lived >= GOOD {
            self.deaths = 0;
        }
        let factor = 1_u32 << self.deaths.min(10);
        self.deaths = self.deaths.saturating_add(1);
        (FIRST * factor).min(LAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_ten_seconds_and_begins_anew_after_a_good_minute() {
        let mut backoff = Backoff::default();
        let short = Duration::from_secs(1);
        let delays: Vec<u128> = (0..9).map(|_| backoff.after(short).as_millis()).collect();
        assert_eq!(
            delays,
            [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
        );
        assert_eq!(backoff.after(GOOD), FIRST);
        assert_eq!(backoff.after(short), FIRST * 2);
        backoff.deaths = u32::MAX;
        assert_eq!(backoff.after(short), LAST);
    }
}
