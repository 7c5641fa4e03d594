//! Which valid transactions the mempool takes: forms that are in use, cheap to check and worth relaying.
//!
//! Source: `IsStandardTx`, `IsStandard`, `ValidateInputsStandardness`, `IsWitnessStandard` and `GetDustThreshold` in
//! Bitcoin Core's `policy/policy.cpp`, with the limits of its `policy/policy.h` as of version 31. Not here: its stricter
//! script flags (the engine's interpreter is given consensus flags only), and dust that the next transaction spends.

use bitcoin::{Script, Transaction, TxIn, Witness};

use super::utxo::Coin;
use crate::source::SubmitError;

const MOST_WEIGHT: u64 = 400_000;
const LEAST_BASE_BYTES: u64 = 65;
const MOST_SCRIPT_SIG_BYTES: u64 = 1_650;
const MOST_SIGOP_COST: u64 = 80_000 / 5;
const MOST_P2SH_SIGOPS: u64 = 15;
const MOST_MULTISIG_KEYS: u8 = 3;
const MOST_WITNESS_SCRIPT_BYTES: u64 = 3_600;
const MOST_WITNESS_ITEMS: u64 = 100;
const MOST_WITNESS_ITEM_BYTES: u64 = 80;
/// First byte of a taproot annex (BIP-0341).
const ANNEX_TAG: u8 = 0x50;
/// Leaf version of tapscript (BIP-0342).
const TAPSCRIPT: u8 = 0xc0;
/// Witness version 1 with this program: an output that anybody may spend to pay for its transaction (P2A).
const ANCHOR: [u8; 4] = [0x51, 0x02, 0x4e, 0x73];

/// Refuses what is not standard. `coins` are what it spends, in input order.
pub(super) fn check_standard(
    transaction: &Transaction,
    coins: &[Coin],
    sigop_cost: u64,
) -> Result<(), SubmitError> {
    if !(1..=3).contains(&transaction.version.0) {
        return refuse("its version is none of 1 to 3");
    }
    at_most("weight", transaction.weight().to_wu(), MOST_WEIGHT)?;
    if (transaction.base_size() as u64) < LEAST_BASE_BYTES {
        return refuse("without witness it has less than 65 bytes");
    }
    check_outputs(transaction)?;
    for (input, coin) in transaction.input.iter().zip(coins) {
        check_input(input, &coin.output.script_pubkey)?;
    }
    at_most("signature operation cost", sigop_cost, MOST_SIGOP_COST)
}

fn check_outputs(transaction: &Transaction) -> Result<(), SubmitError> {
    for (output, paid) in (0..).zip(&transaction.output) {
        let script = &paid.script_pubkey;
        match form(script) {
            Form::Other => return refuse("the script of an output has no standard form"),
            // Bounded by the weight of the whole.
            Form::Data => {}
            Form::Standard | Form::FutureWitness => {
                let (value_sat, needed_sat) = (paid.value.to_sat(), script.minimal_non_dust().to_sat());
                if value_sat < needed_sat {
                    return Err(SubmitError::Dust { output, value_sat, needed_sat });
                }
            }
        }
    }
    Ok(())
}

fn check_input(input: &TxIn, spent: &Script) -> Result<(), SubmitError> {
    at_most("script signature, in bytes,", input.script_sig.len() as u64, MOST_SCRIPT_SIG_BYTES)?;
    if !input.script_sig.is_push_only() {
        return refuse("a script signature does more than push data");
    }
    match form(spent) {
        Form::Standard => {}
        Form::FutureWitness => return refuse("it spends a witness program of a later version"),
        Form::Other | Form::Data => return refuse("it spends an output of no standard form"),
    }
    let redeem = spent.is_p2sh().then(|| input.script_sig.redeem_script()).flatten();
    if let Some(redeem) = redeem {
        at_most("signature operations of a P2SH script", redeem.count_sigops() as u64, MOST_P2SH_SIGOPS)?;
    }
    if input.witness.is_empty() {
        return Ok(());
    }
    match redeem.unwrap_or(spent) {
        script if script.is_p2wpkh() => Ok(()),
        script if script.is_p2wsh() => check_script_witness(&input.witness),
        script if script.is_p2tr() && redeem.is_none() => check_taproot_witness(&input.witness),
        _ => refuse("an input has a witness that its output does not ask for"),
    }
}

fn check_script_witness(witness: &Witness) -> Result<(), SubmitError> {
    let script_bytes = witness.last().map_or(0, <[u8]>::len) as u64;
    at_most("witness script, in bytes,", script_bytes, MOST_WITNESS_SCRIPT_BYTES)?;
    let items = witness.len().saturating_sub(1);
    at_most("number of witness items", items as u64, MOST_WITNESS_ITEMS)?;
    check_items(witness.iter().take(items))
}

fn check_taproot_witness(witness: &Witness) -> Result<(), SubmitError> {
    let Some(last) = witness.last() else { return Ok(()) };
    if witness.len() >= 2 && last.first() == Some(&ANNEX_TAG) {
        return refuse("an input has a taproot annex");
    }
    if witness.len() < 2 {
        return Ok(());
    }
    match last.first() {
        None => refuse("a control block is empty"),
        Some(first) if first & 0xfe == TAPSCRIPT => check_items(witness.iter().take(witness.len() - 2)),
        Some(_) => Ok(()),
    }
}

fn check_items<'a>(items: impl Iterator<Item = &'a [u8]>) -> Result<(), SubmitError> {
    let longest = items.map(<[u8]>::len).max().unwrap_or(0);
    at_most("witness item, in bytes,", longest as u64, MOST_WITNESS_ITEM_BYTES)
}

/// What a script is, as far as policy cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Known, and may be paid to and spent from.
    Standard,
    /// A witness program without meaning so far: may be paid to.
    FutureWitness,
    /// Data that nobody spends.
    Data,
    Other,
}

fn form(script: &Script) -> Form {
    let bytes = script.as_bytes();
    let is_known = script.is_p2pk()
        || script.is_p2pkh()
        || script.is_p2sh()
        || script.is_p2wpkh()
        || script.is_p2wsh()
        || script.is_p2tr()
        || bytes == ANCHOR
        || is_small_multisig(script);
    if is_known {
        Form::Standard
    } else if script.is_op_return() && Script::from_bytes(&bytes[1..]).is_push_only() {
        Form::Data
    } else if script.is_witness_program() && bytes.first() != Some(&0) {
        Form::FutureWitness
    } else {
        Form::Other
    }
}

fn is_small_multisig(script: &Script) -> bool {
    // The number of keys stands before the last operation, as OP_1 (0x51) and so on.
    let keys = script.as_bytes().iter().rev().nth(1);
    script.is_multisig() && keys.is_some_and(|keys| keys.saturating_sub(0x50) <= MOST_MULTISIG_KEYS)
}

fn refuse(rule: &'static str) -> Result<(), SubmitError> {
    Err(SubmitError::NonStandard { rule })
}

fn at_most(what: &'static str, found: u64, limit: u64) -> Result<(), SubmitError> {
    if found > limit { Err(SubmitError::AboveStandard { what, found, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::hashes::Hash as _;
    use bitcoin::script::Builder;
    use bitcoin::transaction::Version;
    use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, TxOut, Txid};

    use super::*;

    fn program(version: u8, byte: u8, length: usize) -> ScriptBuf {
        ScriptBuf::from_bytes([&[version, length as u8][..], &vec![byte; length]].concat())
    }

    fn p2sh() -> ScriptBuf {
        ScriptBuf::from_bytes([&[0xa9, 0x14][..], &[7; 20], &[0x87]].concat())
    }

    /// Spends an output with script `spent` by `script_sig` and `witness`, to `outputs`.
    fn check(
        spent: ScriptBuf,
        script_sig: ScriptBuf,
        witness: &[&[u8]],
        outputs: &[(ScriptBuf, u64)],
    ) -> Result<(), SubmitError> {
        let output = |(script_pubkey, value): &(ScriptBuf, u64)| TxOut {
            value: Amount::from_sat(*value),
            script_pubkey: script_pubkey.clone(),
        };
        let transaction = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: OutPoint::new(Txid::all_zeros(), 0),
                script_sig,
                sequence: Sequence::MAX,
                witness: Witness::from_slice(witness),
            }],
            output: outputs.iter().map(output).collect(),
        };
        let coin = Coin { output: output(&(spent, 1)), height: 1, is_coinbase: false };
        check_standard(&transaction, &[coin], 0)
    }

    fn pays(script: ScriptBuf, value: u64) -> Result<(), SubmitError> {
        check(program(0, 1, 20), ScriptBuf::new(), &[], &[(script, value), (program(0, 1, 32), 10_000)])
    }

    fn spends(spent: ScriptBuf, script_sig: ScriptBuf, witness: &[&[u8]]) -> Result<(), SubmitError> {
        check(spent, script_sig, witness, &[(program(0, 1, 32), 10_000)])
    }

    #[test]
    fn dust_begins_where_bitcoin_core_draws_the_line() {
        let anchor = ScriptBuf::from_bytes(ANCHOR.to_vec());
        let p2pkh = ScriptBuf::from_bytes([&[0x76, 0xa9, 0x14][..], &[7; 20], &[0x88, 0xac]].concat());
        // The values Bitcoin Core's documentation and tests name.
        for (script, needed_sat) in [
            (p2pkh, 546),
            (p2sh(), 540),
            (program(0, 1, 20), 294),
            (program(0, 1, 32), 330),
            (program(0x51, 1, 32), 330),
            (anchor, 240),
        ] {
            pays(script.clone(), needed_sat).unwrap();
            let value_sat = needed_sat - 1;
            assert_eq!(pays(script, value_sat), Err(SubmitError::Dust { output: 0, value_sat, needed_sat }));
        }
    }

    #[test]
    fn outputs_have_a_known_form_or_a_later_witness_version() {
        let data = |bytes: usize| ScriptBuf::from_bytes([&[0x6a][..], &vec![0x51; bytes]].concat());
        check(program(0, 1, 20), ScriptBuf::new(), &[], &[(data(50_000), 0), (data(49_000), 0)]).unwrap();
        let refused = pays(data(100_000), 0).unwrap_err();
        assert!(matches!(refused, SubmitError::AboveStandard { what: "weight", .. }), "{refused}");
        pays(program(0x60, 1, 40), 10_000).unwrap();
        let key = [&[0x21, 0x02][..], &[0x79; 32]].concat();
        let multisig = |keys: u8| {
            let keys_pushed = key.repeat(usize::from(keys));
            ScriptBuf::from_bytes([&[0x51][..], &keys_pushed, &[0x50 + keys, 0xae]].concat())
        };
        pays(multisig(3), 10_000).unwrap();
        for script in [
            multisig(4),
            ScriptBuf::from_bytes(vec![0x51]),
            program(0, 1, 21),
            ScriptBuf::from_bytes(vec![0x6a, 0xac]),
        ] {
            assert!(matches!(pays(script, 10_000), Err(SubmitError::NonStandard { .. })));
        }
    }

    #[test]
    fn what_is_spent_is_known_and_what_it_takes_is_bounded() {
        let none = ScriptBuf::new;
        let is_other = |result| matches!(result, Err(SubmitError::NonStandard { .. }));
        let is_above = |result| matches!(result, Err(SubmitError::AboveStandard { .. }));
        assert!(is_other(spends(ScriptBuf::from_bytes(vec![0x51]), none(), &[])));
        assert!(is_other(spends(program(0x52, 1, 32), none(), &[])));
        assert!(is_other(spends(program(0, 1, 20), ScriptBuf::from_bytes(vec![0xac]), &[])));
        assert!(is_other(spends(ScriptBuf::from_bytes(ANCHOR.to_vec()), none(), &[&[1]])));
        spends(ScriptBuf::from_bytes(ANCHOR.to_vec()), none(), &[]).unwrap();
        let pushes = |bytes: usize| ScriptBuf::from_bytes(vec![0x51; bytes]);
        spends(program(0, 1, 20), pushes(1_650), &[]).unwrap();
        assert!(is_above(spends(program(0, 1, 20), pushes(1_651), &[])));
        let redeems = |operations: usize| {
            let redeem = bitcoin::script::PushBytesBuf::try_from(vec![0xac; operations]).unwrap();
            spends(p2sh(), Builder::new().push_slice(redeem).into_script(), &[])
        };
        redeems(15).unwrap();
        assert!(is_above(redeems(16)));

        let script_path = |item: usize, count: usize, script: usize| {
            let (item, script) = (vec![1; item], vec![1; script]);
            let mut witness = vec![item.as_slice(); count];
            witness.push(&script);
            spends(program(0, 1, 32), none(), &witness)
        };
        script_path(80, 100, 3_600).unwrap();
        for result in [script_path(81, 1, 1), script_path(1, 101, 1), script_path(1, 1, 3_601)] {
            assert!(is_above(result));
        }
        let taproot = |witness: &[&[u8]]| spends(program(0x51, 1, 32), none(), witness);
        taproot(&[&[1; 64]]).unwrap();
        taproot(&[&[1; 80], &[1; 9_000], &[0xc0; 33]]).unwrap();
        assert!(is_above(taproot(&[&[1; 81], &[1], &[0xc0; 33]])));
        assert!(is_other(taproot(&[&[1; 64], &[0x50]])));
        assert!(is_other(taproot(&[&[1], &[1], &[]])));
    }
}
