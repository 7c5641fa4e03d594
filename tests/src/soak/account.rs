//! What a reader received and missed of one topic: every sequence must be one or the other, once.

/// The account of one topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Sequence of the first message received; 0 before it.
    first: u64,
    /// Missed before it.
    missed_before: u64,
    /// The sequence that must come next, once something was received.
    next: u64,
    /// Messages received.
    pub received: u64,
    /// Messages reported as missed.
    pub missed: u64,
}

/// The sequence received is not the one that the account says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sequence {found} came where {expected} was due: loss was not told exactly")]
pub struct OutOfStep {
    /// What came.
    pub found: u64,
    /// What was due.
    pub expected: u64,
}

impl Account {
    /// Takes a message into the account.
    ///
    /// # Errors
    ///
    /// [`OutOfStep`]; the account goes on from the message found.
    pub fn receive(&mut self, sequence: u64) -> Result<(), OutOfStep> {
        let expected = self.next;
        self.received += 1;
        self.next = sequence + 1;
        if self.first == 0 {
            self.first = sequence;
            self.missed_before = self.missed;
            return Ok(());
        }
        if sequence == expected { Ok(()) } else { Err(OutOfStep { found: sequence, expected }) }
    }

    /// Takes a report of missed messages into the account.
    pub fn miss(&mut self, messages: u64) {
        self.missed += messages;
        self.next += messages;
    }

    /// The range this account is about: the first sequence, and the one after the last. `None` if nothing was received.
    pub fn range(&self) -> Option<(u64, u64)> {
        (self.first > 0).then(|| (self.first.saturating_sub(self.missed_before), self.next))
    }

    /// Whether every sequence of its range was received or missed.
    pub fn is_whole(&self) -> bool {
        self.range().is_none_or(|(start, end)| self.received + self.missed == end - start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_whole_from_its_start_to_its_end_whatever_was_missed() {
        let mut account = Account::default();
        assert_eq!(account.range(), None);
        account.miss(4);
        assert_eq!(account.receive(10), Ok(()));
        assert_eq!(account.receive(11), Ok(()));
        account.miss(3);
        assert_eq!(account.receive(15), Ok(()));
        account.miss(1);
        assert_eq!((account.range(), account.is_whole()), (Some((6, 17)), true));
    }

    #[test]
    fn a_skipped_a_repeated_and_a_wrongly_told_sequence_are_found() {
        let begun = || {
            let mut account = Account::default();
            account.receive(10).unwrap();
            account
        };
        for found in [10, 12] {
            let mut account = begun();
            assert_eq!(account.receive(found), Err(OutOfStep { found, expected: 11 }));
            assert!(!account.is_whole());
        }
        for told in [1, 3] {
            let mut account = begun();
            account.miss(told);
            assert_eq!(account.receive(13), Err(OutOfStep { found: 13, expected: 11 + told }));
        }
    }
}
