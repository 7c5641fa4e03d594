//! The chain of a test's node: blocks made as told, in consensus encoding, on a regtest genesis block.

use std::collections::HashMap;

use blvm_bus::message::Hash;
use blvm_bus::message::chain::{BlockTransaction, FEE_UNKNOWN};
use blvm_bus::request::{ChainPosition, MempoolEntry};

use super::encoding::{Malformed, Parsed, Reader, compact, counted, hash, merkle_root};

/// The target of regtest in compact form. Source: `CRegTestParams` in Bitcoin Core's `chainparams.cpp`.
pub(crate) const BITS: u32 = 0x207f_ffff;

/// Seconds between the times of two blocks.
const BLOCK_TIME_S: u32 = 600;

/// Time of the genesis block, in seconds since 1970. Source: as [`BITS`].
const GENESIS_TIME: u32 = 1_296_688_602;

/// Nonce of the genesis block. Source: as [`BITS`].
const GENESIS_NONCE: u32 = 2;

/// The coinbase of the genesis block of every network. Source: `CreateGenesisBlock` in Bitcoin Core's `chainparams.cpp`.
const GENESIS_COINBASE: [u8; 204] = hex(b"\
    01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff4d04ffff001d0104455468652054696d65732030\
    332f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f66207365636f6e64206261696c6f757420666f722062616e6b73ffff\
    ffff0100f2052a01000000434104678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec1\
    12de5c384df7ba0b8d578a4c702b6bf11d5fac00000000");

const fn hex<const N: usize>(digits: &[u8]) -> [u8; N] {
    const fn value(digit: u8) -> u8 {
        if digit <= b'9' { digit - b'0' } else { digit - b'a' + 10 }
    }
    assert!(digits.len() == 2 * N);
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        bytes[at] = value(digits[2 * at]) << 4 | value(digits[2 * at + 1]);
        at += 1;
    }
    bytes
}

/// A block, and what is known of it.
#[derive(Debug, Clone)]
pub(crate) struct ScriptedBlock {
    pub(crate) position: ChainPosition,
    pub(crate) previous: Hash,
    pub(crate) raw: Vec<u8>,
    pub(crate) index: Vec<BlockTransaction>,
    pub(crate) transactions: Vec<Parsed>,
}

impl ScriptedBlock {
    /// Reads a block of height `height`; `fee` says what its transactions pay.
    pub(crate) fn read(
        raw: Vec<u8>,
        height: u32,
        fee: impl Fn(&Parsed) -> Option<u64>,
    ) -> Result<Self, Malformed> {
        let mut reader = Reader::new(&raw, "a block");
        let header = reader.take(80)?;
        let previous = header[4..36].try_into().expect("32 bytes");
        let position = ChainPosition { hash: hash(&[header]), height };
        let (mut index, mut transactions) = (Vec::new(), Vec::new());
        for _ in 0..reader.count()? {
            let offset_bytes = reader.at() as u32;
            let parsed = reader.transaction()?;
            let Parsed { txid, wtxid, weight, length_bytes, .. } = parsed;
            let fee_sat = if parsed.is_coinbase() { 0 } else { fee(&parsed).unwrap_or(FEE_UNKNOWN) };
            index.push(BlockTransaction {
                txid,
                wtxid,
                fee_sat,
                offset_bytes,
                length_bytes: length_bytes as u32,
                weight,
                reserved: 0,
            });
            transactions.push(parsed);
        }
        if !reader.is_at_end() {
            return Err(Malformed { what: "a block", at_bytes: reader.at() });
        }
        Ok(ScriptedBlock { position, previous, raw, index, transactions })
    }

    pub(crate) fn header(&self) -> [u8; 80] {
        self.raw[..80].try_into().expect("a block begins with its header")
    }

    pub(crate) fn time(&self) -> u32 {
        u32::from_le_bytes(self.raw[68..72].try_into().expect("four bytes"))
    }

    /// The bytes of its transaction `index`.
    pub(crate) fn transaction_bytes(&self, index: usize) -> &[u8] {
        let entry = &self.index[index];
        let begin = entry.offset_bytes as usize;
        &self.raw[begin..begin + entry.length_bytes as usize]
    }
}

/// Every block there ever was, and the way to the tip.
#[derive(Debug)]
pub(crate) struct ScriptedChain {
    blocks: HashMap<Hash, ScriptedBlock>,
    active: Vec<Hash>,
}

impl ScriptedChain {
    /// The genesis block of regtest.
    pub(crate) fn new() -> Self {
        let coinbase = hash(&[&GENESIS_COINBASE]);
        let raw = [&header(1, &[0; 32], &coinbase, GENESIS_TIME, GENESIS_NONCE)[..], &[1], &GENESIS_COINBASE]
            .concat();
        let genesis = ScriptedBlock::read(raw, 0, |_| None).expect("it is one");
        let hash = genesis.position.hash;
        ScriptedChain { blocks: HashMap::from([(hash, genesis)]), active: vec![hash] }
    }

    pub(crate) fn tip(&self) -> &ScriptedBlock {
        &self.blocks[self.active.last().expect("genesis never leaves")]
    }

    /// Hashes of the active chain, from genesis on.
    pub(crate) fn active(&self) -> &[Hash] {
        &self.active
    }

    /// A block of the active chain or a branch.
    pub(crate) fn block(&self, hash: &Hash) -> Option<&ScriptedBlock> {
        self.blocks.get(hash)
    }

    pub(crate) fn at_height(&self, height: u32) -> Option<&ScriptedBlock> {
        self.active.get(height as usize).and_then(|hash| self.blocks.get(hash))
    }

    pub(crate) fn is_active(&self, position: &ChainPosition) -> bool {
        self.active.get(position.height as usize) == Some(&position.hash)
    }

    /// The blocks of the active chain, from the lowest that is known on.
    pub(crate) fn active_blocks(&self) -> impl DoubleEndedIterator<Item = &ScriptedBlock> {
        self.active.iter().filter_map(|hash| self.blocks.get(hash))
    }

    /// Median of the times of a block and the ten before it (BIP-0113).
    pub(crate) fn median_time(&self, block: &ScriptedBlock) -> u32 {
        let before = std::iter::successors(Some(block), |block| self.blocks.get(&block.previous));
        let mut times: Vec<_> = before.take(11).map(ScriptedBlock::time).collect();
        times.sort_unstable();
        times[times.len() / 2]
    }

    /// A block on `parent` that contains `transactions`. `number` is one that no other block of the node has.
    pub(crate) fn make(parent: &ScriptedBlock, number: u64, transactions: &[MempoolEntry]) -> ScriptedBlock {
        let (previous, height) = (parent.position.hash, parent.position.height + 1);
        let entries = transactions;
        let fees: u64 = entries.iter().map(|entry| entry.fee_sat).filter(|fee| *fee != FEE_UNKNOWN).sum();
        let wtxids: Vec<Hash> =
            std::iter::once([0; 32]).chain(entries.iter().map(|entry| entry.wtxid)).collect();
        let commitment = (!entries.is_empty()).then(|| merkle_root(&wtxids));
        let coinbase = coinbase(height, number, subsidy(height) + fees, commitment);
        let coinbase_id = super::encoding::parse(&coinbase).expect("made here").txid;
        let txids: Vec<Hash> =
            std::iter::once(coinbase_id).chain(entries.iter().map(|entry| entry.txid)).collect();
        let time = parent.time() + BLOCK_TIME_S;
        let mut raw = header(0x2000_0000, &previous, &merkle_root(&txids), time, 0).to_vec();
        compact(txids.len(), &mut raw);
        raw.extend_from_slice(&coinbase);
        entries.iter().for_each(|entry| raw.extend_from_slice(&entry.raw));
        let fee = |parsed: &Parsed| {
            entries.iter().find(|entry| entry.txid == parsed.txid).map(|entry| entry.fee_sat)
        };
        ScriptedBlock::read(raw, height, fee).expect("made here")
    }

    /// A number for the next block, that none there was has.
    pub(crate) fn next_number(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// The block is there, on a branch.
    pub(crate) fn know(&mut self, block: &ScriptedBlock) {
        self.blocks.insert(block.position.hash, block.clone());
    }

    /// The chain consists of this block alone: none below it is known.
    pub(crate) fn set_base(&mut self, block: ScriptedBlock) {
        self.active = vec![[0; 32]; block.position.height as usize];
        self.active.push(block.position.hash);
        self.blocks = HashMap::from([(block.position.hash, block)]);
    }

    /// The block joins on the tip.
    pub(crate) fn connect(&mut self, block: ScriptedBlock) {
        assert_eq!(block.previous, self.tip().position.hash, "the block does not stand on the tip");
        self.active.push(block.position.hash);
        self.blocks.insert(block.position.hash, block);
    }

    /// The tip leaves.
    ///
    /// # Panics
    ///
    /// If it is genesis.
    pub(crate) fn disconnect(&mut self) -> &ScriptedBlock {
        assert!(self.active.len() > 1, "the genesis block never leaves the chain");
        let hash = self.active.pop().expect("just seen");
        &self.blocks[&hash]
    }
}

/// What a block may create, in satoshi. Source: as [`BITS`], a halving every 150 blocks.
pub(crate) fn subsidy(height: u32) -> u64 {
    50_0000_0000_u64.checked_shr(height / 150).unwrap_or(0)
}

/// A header whose hash meets the target, its nonce the first from `nonce` on.
fn header(version: u32, previous: &Hash, merkle_root: &Hash, time: u32, nonce: u32) -> [u8; 80] {
    let mut header = [0; 80];
    header[..4].copy_from_slice(&version.to_le_bytes());
    header[4..36].copy_from_slice(previous);
    header[36..68].copy_from_slice(merkle_root);
    header[68..72].copy_from_slice(&time.to_le_bytes());
    header[72..76].copy_from_slice(&BITS.to_le_bytes());
    for nonce in nonce.. {
        header[76..].copy_from_slice(&nonce.to_le_bytes());
        // Half of all hashes are below the target: a number as these bytes, the last one the highest.
        if hash(&[&header])[31] < 0x7f {
            break;
        }
    }
    header
}

/// Begins with the height (BIP-0034), then a number that no other coinbase of the node has.
fn coinbase(height: u32, number: u64, value_sat: u64, witness_root: Option<Hash>) -> Vec<u8> {
    let mut script = coinbase_prefix(height);
    counted(&number.to_le_bytes(), &mut script);
    let mut raw = vec![2, 0, 0, 0];
    if witness_root.is_some() {
        raw.extend_from_slice(&[0, 1]);
    }
    raw.push(1);
    raw.extend_from_slice(&[0; 32]);
    raw.extend_from_slice(&[0xff; 4]);
    counted(&script, &mut raw);
    raw.extend_from_slice(&[0xff; 4]);
    raw.push(1 + u8::from(witness_root.is_some()));
    raw.extend_from_slice(&value_sat.to_le_bytes());
    // OP_TRUE.
    counted(&[0x51], &mut raw);
    if let Some(root) = witness_root {
        raw.extend_from_slice(&[0; 8]);
        counted(&witness_commitment(&root), &mut raw);
        // The reserved value.
        raw.push(1);
        counted(&[0; 32], &mut raw);
    }
    raw.extend_from_slice(&[0; 4]);
    raw
}

/// What a coinbase's script begins with: the height as a script pushes numbers (BIP-0034).
pub(crate) fn coinbase_prefix(height: u32) -> Vec<u8> {
    if (1..=16).contains(&height) {
        return vec![0x50 + height as u8];
    }
    let mut digits: Vec<u8> = height.to_le_bytes().to_vec();
    while digits.last() == Some(&0) {
        digits.pop();
    }
    if digits.last().is_some_and(|last| last & 0x80 != 0) {
        digits.push(0);
    }
    let mut script = Vec::new();
    counted(&digits, &mut script);
    script
}

/// The script that commits to the witnesses (BIP-0141), of a coinbase with a reserved value of zeros.
pub(crate) fn witness_commitment(root: &Hash) -> Vec<u8> {
    [&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed][..], &hash(&[root, &[0; 32]])].concat()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::Transaction;

    #[test]
    fn the_genesis_block_is_that_of_regtest() {
        let chain = ScriptedChain::new();
        let mut hash = chain.tip().position.hash;
        hash.reverse();
        assert_eq!(hash, hex(b"0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"));
    }

    #[test]
    fn a_block_is_indexed_as_its_bytes_say() {
        let mut chain = ScriptedChain::new();
        let transactions = [Transaction::new(1).fee(5), Transaction::new(2).virtual_bytes(5_000)];
        let entries = [transactions[0].entry(), transactions[1].entry()];
        let block = ScriptedChain::make(chain.tip(), 1, &entries);
        assert_eq!(block.index.len(), 3);
        for (index, transaction) in transactions.iter().enumerate() {
            assert_eq!(block.transaction_bytes(index + 1), transaction.raw());
            let entry = &block.index[index + 1];
            let (txid, wtxid) = (transaction.txid(), transaction.wtxid());
            assert_eq!((entry.txid, entry.wtxid, entry.weight), (txid, wtxid, transaction.weight()));
            assert_eq!(entry.fee_sat, transaction.fee_sat());
        }
        let coinbase = &block.transactions[0];
        assert!(coinbase.is_coinbase() && coinbase.wtxid == [0; 32]);
        assert_eq!(coinbase.outputs[0].0, 50_0000_0000 + 5 + 50_000);
        chain.connect(block);
        // Two at one height are two.
        let empty = |number| ScriptedChain::make(chain.tip(), number, &[]).position.hash;
        assert_ne!(empty(2), empty(3));
    }
}
