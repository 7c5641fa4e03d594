//! Who plays which role when: a function of the seed and the clock, so that nobody has to be told.
//!
//! A run is a row of *shifts* of equal length. The first is to warm up; then *phases* of several shifts alternate:
//! calm, torment, calm, …, and end calm. In calm phases, and after the last one, everybody reads.

use std::time::Duration;

use super::content::mix;

/// How many modules there are: as many as may hold bodies.
pub const MODULES: usize = 8;

/// How many of them read and do nothing else throughout a phase.
pub const READERS: usize = 2;

/// What a module does during a shift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Reads every topic and checks every byte.
    Read,
    /// The same, but sleeps in between, bodies held.
    Sleep,
    /// The same, but is stopped by a signal, wherever it is.
    Stop,
    /// The same, and holds as many bodies as it may for as long as it may.
    Hoard,
    /// Exits by itself in the middle of it, bodies held, over and over.
    Exit,
    /// Is killed in the middle of it, over and over.
    Kill,
    /// Attaches, reads, detaches, over and over.
    Churn,
    /// Writes garbage into its lease page.
    Leases,
    /// Writes garbage onto its request socket, and ends in the middle of a frame.
    Requests,
    /// Sends park records that are garbage or can never match, and reads no wake.
    Parks,
    /// Asks and parks as often as it can.
    Flood,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 11] = [
        Role::Read,
        Role::Sleep,
        Role::Stop,
        Role::Hoard,
        Role::Exit,
        Role::Kill,
        Role::Churn,
        Role::Leases,
        Role::Requests,
        Role::Parks,
        Role::Flood,
    ];

    /// Whether it needs what no SDK gives away: such a module attaches by hand.
    pub fn is_by_hand(self) -> bool {
        matches!(self, Role::Leases | Role::Requests | Role::Parks | Role::Flood)
    }

    /// Whether its process ends in the middle of a shift.
    pub fn is_short_lived(self) -> bool {
        matches!(self, Role::Exit | Role::Kill | Role::Churn)
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Sleep => "sleep",
            Role::Stop => "stop",
            Role::Hoard => "hoard",
            Role::Exit => "exit",
            Role::Kill => "kill",
            Role::Churn => "churn",
            Role::Leases => "leases",
            Role::Requests => "requests",
            Role::Parks => "parks",
            Role::Flood => "flood",
        }
    }
}

/// A phase: what its costs are counted under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The first shift: not counted.
    WarmUp,
    /// Everybody reads.
    Calm,
    /// Random roles.
    Torment,
}

impl Kind {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::WarmUp => "warm_up",
            Kind::Calm => "calm",
            Kind::Torment => "torment",
        }
    }
}

/// The plan of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// What everything random comes from.
    pub seed: u64,
    /// When it begins, in nanoseconds of `CLOCK_MONOTONIC`.
    pub start_ns: u64,
    /// Length of a shift.
    pub shift: Duration,
    /// Shifts in a phase.
    pub shifts: u64,
    /// The last phase, a calm one.
    pub last_phase: u64,
}

impl Schedule {
    /// Which shift it is at `now_ns`.
    pub fn shift_at(&self, now_ns: u64) -> u64 {
        // A shift is far shorter than 2^64 ns.
        now_ns.saturating_sub(self.start_ns) / self.shift.as_nanos() as u64
    }

    /// When a shift begins, in nanoseconds of `CLOCK_MONOTONIC`.
    pub fn begin_ns(&self, shift: u64) -> u64 {
        self.start_ns + shift * self.shift.as_nanos() as u64
    }

    /// The phase of a shift, 0 for the first one.
    pub fn phase(&self, shift: u64) -> u64 {
        shift.div_ceil(self.shifts)
    }

    /// What a phase is.
    pub fn kind(&self, phase: u64) -> Kind {
        match phase {
            0 => Kind::WarmUp,
            even if even.is_multiple_of(2) && even <= self.last_phase => Kind::Torment,
            _ => Kind::Calm,
        }
    }

    /// The first shift after `phase`.
    pub fn end_of(&self, phase: u64) -> u64 {
        1 + phase * self.shifts
    }

    /// What module `index` does during a shift.
    pub fn role(&self, shift: u64, index: usize) -> Role {
        let phase = self.phase(shift);
        if self.kind(phase) != Kind::Torment || self.reads_throughout(phase, index) {
            return Role::Read;
        }
        let random = mix(&[self.seed, shift, index as u64]);
        Role::ALL[random as usize % Role::ALL.len()]
    }

    /// Whether module `index` is one of the readers of a phase: those that draw the lowest lots.
    fn reads_throughout(&self, phase: u64, index: usize) -> bool {
        let lot = |index: usize| (mix(&[self.seed, phase, index as u64, 1]), index);
        (0..MODULES).filter(|other| lot(*other) < lot(index)).count() < READERS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_modules_read_throughout_every_phase_and_every_role_is_played() {
        let mut played = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let schedule =
                Schedule { seed, start_ns: 7, shift: Duration::from_secs(2), shifts: 2, last_phase: 7 };
            for phase in 0..8 {
                let shifts: Vec<_> = (0..20).filter(|shift| schedule.phase(*shift) == phase).collect();
                assert_eq!(shifts.len(), if phase == 0 { 1 } else { 2 });
                let reads = |index: &usize| shifts.iter().all(|s| schedule.role(*s, *index) == Role::Read);
                assert!((0..MODULES).filter(reads).count() >= READERS);
                for shift in shifts {
                    played.extend((0..MODULES).map(|index| schedule.role(shift, index)));
                }
            }
        }
        assert_eq!(played.len(), Role::ALL.len());
    }

    #[test]
    fn phases_alternate_and_shifts_follow_the_clock() {
        let shift = Duration::from_nanos(10);
        let schedule = Schedule { seed: 1, start_ns: 1000, shift, shifts: 2, last_phase: 5 };
        assert_eq!((schedule.shift_at(0), schedule.shift_at(1009), schedule.shift_at(1010)), (0, 0, 1));
        assert_eq!(schedule.begin_ns(3), 1030);
        let phases: Vec<_> = (0..6).map(|shift| schedule.phase(shift)).collect();
        assert_eq!(phases, [0, 1, 1, 2, 2, 3]);
        assert_eq!((schedule.end_of(0), schedule.end_of(1), schedule.end_of(2)), (1, 3, 5));
        let kinds: Vec<_> = (3..8).map(|phase| schedule.kind(phase)).collect();
        assert_eq!(kinds, [Kind::Calm, Kind::Torment, Kind::Calm, Kind::Calm, Kind::Calm]);
    }
}
