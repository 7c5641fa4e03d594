//! Transactions for tests: given as bytes, or made as told.

use blvm_bus::message::Hash;
use blvm_bus::request::{MempoolEntry, Outpoint};

use super::encoding::{Parsed, compact, counted, hash, parse};

/// Value of an output that nobody has seen, in satoshi: 1 BTC.
const VALUE_SAT: u64 = 100_000_000;

/// Fee rate of a transaction that says nothing of it, in satoshi for a virtual byte.
const FEE_RATE: u64 = 10;

/// A transaction for a test. What it is not told is made up: it spends an output that nobody else spends, pays to one
/// script, and its signatures are of the right length and verify nothing.
///
/// ```
/// use blvm_sdk::testing::Transaction;
///
/// let dear = Transaction::new(1).fee_rate(50).virtual_bytes(200);
/// assert_eq!((dear.fee_sat(), dear.weight()), (10_000, 800));
/// // The same number is the same transaction.
/// assert_ne!(Transaction::new(1).txid(), Transaction::new(2).txid());
/// // A child of it.
/// let child = Transaction::new(2).spends(&dear, 0);
/// assert_eq!(child.fee_sat(), 1_100);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    form: Form,
    fee: Fee,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Raw(Vec<u8>),
    Made { number: u64, spends: Vec<(Outpoint, u64)>, pays: Vec<(u64, Vec<u8>)>, virtual_bytes: Option<u32> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fee {
    Sat(u64),
    SatPerVirtualByte(u64),
}

impl Transaction {
    /// Transaction `number`: other numbers are other transactions. It pays 10 sat/vB and has 110 virtual bytes.
    pub fn new(number: u64) -> Self {
        let form = Form::Made { number, spends: Vec::new(), pays: Vec::new(), virtual_bytes: None };
        Transaction { form, fee: Fee::SatPerVirtualByte(FEE_RATE) }
    }

    /// The transaction with these bytes in consensus encoding.
    ///
    /// # Panics
    ///
    /// If they are none.
    pub fn from_raw(raw: impl Into<Vec<u8>>) -> Self {
        let raw = raw.into();
        if let Err(error) = parse(&raw) {
            panic!("{error}");
        }
        Transaction { form: Form::Raw(raw), fee: Fee::SatPerVirtualByte(FEE_RATE) }
    }

    /// With a fee of so many satoshi.
    #[must_use]
    pub fn fee(self, fee_sat: u64) -> Self {
        Transaction { fee: Fee::Sat(fee_sat), ..self }
    }

    /// With a fee of so many satoshi for each virtual byte.
    #[must_use]
    pub fn fee_rate(self, sat_per_vb: u64) -> Self {
        Transaction { fee: Fee::SatPerVirtualByte(sat_per_vb), ..self }
    }

    /// Of so many virtual bytes; 110 without, for one input and one output.
    ///
    /// # Panics
    ///
    /// If it has bytes of its own, or [`Transaction::raw`] if so few are not enough for what it has.
    #[must_use]
    pub fn virtual_bytes(self, count: u32) -> Self {
        self.made("virtual_bytes", |form| {
            if let Form::Made { virtual_bytes, .. } = form {
                *virtual_bytes = Some(count);
            }
        })
    }

    /// Spending output `vout` of `parent`, besides others it was told to spend.
    ///
    /// # Panics
    ///
    /// If the parent has no such output, or this has bytes of its own.
    #[must_use]
    pub fn spends(self, parent: &Transaction, vout: u32) -> Self {
        let parent = parent.parsed();
        let Some((value_sat, _)) = parent.outputs.get(vout as usize) else {
            panic!("the parent has no output {vout}, it has {}", parent.outputs.len());
        };
        self.spends_outpoint(Outpoint { txid: parent.txid, vout }, *value_sat)
    }

    /// Spending an output that has so many satoshi, besides others it was told to spend.
    ///
    /// # Panics
    ///
    /// If it has bytes of its own.
    #[must_use]
    pub fn spends_outpoint(self, outpoint: Outpoint, value_sat: u64) -> Self {
        self.made("spends", |form| {
            if let Form::Made { spends, .. } = form {
                spends.push((outpoint, value_sat));
            }
        })
    }

    /// Paying so many satoshi to `script`, besides others it was told to pay; its last output takes what is left.
    ///
    /// # Panics
    ///
    /// If it has bytes of its own.
    #[must_use]
    pub fn pays(self, value_sat: u64, script: impl Into<Vec<u8>>) -> Self {
        let script = script.into();
        self.made("pays", |form| {
            if let Form::Made { pays, .. } = form {
                pays.push((value_sat, script));
            }
        })
    }

    /// Transaction id.
    pub fn txid(&self) -> Hash {
        self.parsed().txid
    }

    /// Witness transaction id.
    pub fn wtxid(&self) -> Hash {
        self.parsed().wtxid
    }

    /// Weight in weight units (BIP-0141).
    pub fn weight(&self) -> u32 {
        self.parsed().weight
    }

    /// Inputs minus outputs, in satoshi.
    pub fn fee_sat(&self) -> u64 {
        match self.fee {
            Fee::Sat(fee_sat) => fee_sat,
            Fee::SatPerVirtualByte(rate) => {
                rate * u64::from(virtual_bytes(parse_made(&self.encoded(0)).weight))
            }
        }
    }

    /// The transaction in consensus encoding, witness included.
    ///
    /// # Panics
    ///
    /// If it cannot be made as it was told: with too few virtual bytes, or more to pay than it spends.
    pub fn raw(&self) -> Vec<u8> {
        self.encoded(self.fee_sat())
    }

    /// As requests about the mempool answer it.
    pub fn entry(&self) -> MempoolEntry {
        let raw = self.raw();
        let Parsed { txid, wtxid, weight, .. } = parse_made(&raw);
        MempoolEntry { txid, wtxid, fee_sat: self.fee_sat(), weight, raw }
    }

    fn parsed(&self) -> Parsed {
        parse_made(&self.raw())
    }

    fn made(mut self, what: &str, change: impl FnOnce(&mut Form)) -> Self {
        assert!(
            matches!(self.form, Form::Made { .. }),
            "a transaction of given bytes takes no {what}: begin with Transaction::new"
        );
        change(&mut self.form);
        self
    }

    fn encoded(&self, fee_sat: u64) -> Vec<u8> {
        let (number, spends, pays, wanted) = match &self.form {
            Form::Raw(raw) => return raw.clone(),
            Form::Made { number, spends, pays, virtual_bytes } => (number, spends, pays, *virtual_bytes),
        };
        let unseen = [(Outpoint { txid: hash(&[b"unseen", &number.to_le_bytes()]), vout: 0 }, VALUE_SAT)];
        let spends = if spends.is_empty() { &unseen[..] } else { spends };
        let spent: u64 = spends.iter().map(|(_, value_sat)| value_sat).sum();
        let paid: u64 = pays.iter().map(|(value_sat, _)| value_sat).sum();
        let left = spent.checked_sub(paid).and_then(|left| left.checked_sub(fee_sat)).unwrap_or_else(|| {
            panic!("transaction {number} spends {spent} sat, and is to pay {paid} sat with a fee of {fee_sat} sat")
        });
        let bare = encode(*number, spends, pays, left, None);
        let Some(wanted) = wanted else { return bare };
        let least = parse_made(&bare).weight;
        assert!(
            virtual_bytes(least) <= wanted,
            "transaction {number} needs {} virtual bytes, {wanted} were wanted",
            virtual_bytes(least)
        );
        if virtual_bytes(least) == wanted {
            return bare;
        }
        // An item more in the first witness: its bytes and their count, as near to the weight as the count allows.
        let room = (4 * wanted - least) as usize;
        let padding = (1..=9).map(|count| room.saturating_sub(count)).find(|padding| {
            let mut count = Vec::new();
            compact(*padding, &mut count);
            count.len() + padding <= room
        });
        encode(*number, spends, pays, left, padding)
    }
}

fn virtual_bytes(weight: u32) -> u32 {
    weight.div_ceil(4)
}

fn parse_made(raw: &[u8]) -> Parsed {
    parse(raw).expect("checked when it was given, or made here")
}

/// Like a payment from and to pay-to-witness-public-key-hash (BIP-0141), with an item of `padding` bytes more.
fn encode(
    number: u64,
    spends: &[(Outpoint, u64)],
    pays: &[(u64, Vec<u8>)],
    left_sat: u64,
    padding: Option<usize>,
) -> Vec<u8> {
    let mut raw = vec![2, 0, 0, 0, 0, 1];
    compact(spends.len(), &mut raw);
    for (outpoint, _) in spends {
        raw.extend_from_slice(&outpoint.txid);
        raw.extend_from_slice(&outpoint.vout.to_le_bytes());
        raw.push(0);
        raw.extend_from_slice(&0xffff_fffd_u32.to_le_bytes());
    }
    let key_hash = hash(&[b"key", &number.to_le_bytes()]);
    let change = [&[0, 20], &key_hash[..20]].concat();
    compact(pays.len() + 1, &mut raw);
    for (value_sat, script) in
        pays.iter().map(|(value, script)| (*value, &script[..])).chain([(left_sat, &change[..])])
    {
        raw.extend_from_slice(&value_sat.to_le_bytes());
        counted(script, &mut raw);
    }
    for index in 0..spends.len() {
        let padding = padding.filter(|_| index == 0);
        compact(2 + usize::from(padding.is_some()), &mut raw);
        counted(&[0x30; 72], &mut raw);
        counted(&[0x02; 33], &mut raw);
        if let Some(padding) = padding {
            counted(&vec![0; padding], &mut raw);
        }
    }
    raw.extend_from_slice(&[0; 4]);
    raw
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_has_the_size_and_the_fee_it_was_told() {
        let plain = Transaction::new(7);
        assert_eq!((plain.weight(), plain.fee_sat()), (438, 1_100));
        for count in (110..600).chain([16_490, 16_500, 65_635, 70_000]) {
            let sized = Transaction::new(7).virtual_bytes(count).fee_rate(3);
            assert_eq!(sized.weight().div_ceil(4), count);
            assert_eq!(sized.fee_sat(), 3 * u64::from(count));
            let left = sized.parsed().outputs[0].0;
            assert_eq!(left, VALUE_SAT - 3 * u64::from(count), "inputs minus outputs are the fee");
        }
        let paid = Transaction::new(8).spends(&plain, 0).pays(5_000, [0x51]).fee(77);
        let parsed = paid.parsed();
        assert_eq!(parsed.inputs, [Outpoint { txid: plain.txid(), vout: 0 }]);
        assert_eq!(parsed.outputs[0], (5_000, vec![0x51]));
        assert_eq!(parsed.outputs[1].0, VALUE_SAT - 1_100 - 5_000 - 77);
        let again = Transaction::from_raw(paid.raw()).fee(77);
        assert_eq!((again.txid(), again.wtxid(), again.entry()), (paid.txid(), paid.wtxid(), paid.entry()));
    }

    #[test]
    #[should_panic(expected = "needs 110 virtual bytes, 100 were wanted")]
    fn a_transaction_that_cannot_be_so_small_says_how_small_it_can_be() {
        Transaction::new(1).virtual_bytes(100).raw();
    }

    #[test]
    #[should_panic(expected = "not a transaction in consensus encoding, from byte 0 on")]
    fn bytes_that_are_no_transaction_are_refused() {
        let _ = Transaction::from_raw([1, 2, 3]);
    }
}
