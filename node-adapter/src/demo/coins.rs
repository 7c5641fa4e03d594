//! Coins, and the one line of JSON in which one process hands them to another.
//!
//! ```text
//! [{"outpoint":"<txid>:0","amount_sat":5000000000,"script":"p2wpkh","depth":0}, …]
//! ```

use std::collections::HashSet;
use std::io::{self, BufRead, Read as _};

use bitcoin::{Amount, OutPoint};
use serde::{Deserialize, Serialize};

/// Longest line that is read: about 30,000 coins.
const MAX_LINE_BYTES: u64 = 4_000_000;

/// Which of a wallet's two scripts an output pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScriptKind {
    /// Witness version 0 key hash (BIP-0141).
    P2wpkh,
    /// Taproot, spent by key (BIP-0341).
    P2tr,
}

/// An unspent output of a wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coin {
    /// Where it is.
    #[serde(with = "outpoint_text")]
    pub outpoint: OutPoint,
    /// What it is worth, in satoshi.
    pub amount_sat: u64,
    /// What it pays to.
    pub script: ScriptKind,
    /// Unconfirmed transactions on the longest way to it, its own included; 0 once confirmed.
    #[serde(default)]
    pub depth: u32,
}

/// Why a line is not coins.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoinsError {
    /// The line could not be read.
    #[error("the line with the coins could not be read")]
    Io(#[from] io::Error),
    /// Nothing came before the end.
    #[error("no line with coins: write the coins as one line of JSON")]
    Missing,
    /// The line does not end.
    #[error("the line with the coins exceeds {MAX_LINE_BYTES} bytes: hand over fewer coins")]
    TooLong,
    /// The line is not JSON of coins.
    #[error("the line is not a JSON array of coins")]
    Json(#[from] serde_json::Error),
    /// A coin of more than there can be.
    #[error("coin {outpoint} has {amount_sat} sat, more than all there can be")]
    Amount {
        /// Which coin.
        outpoint: OutPoint,
        /// Its amount.
        amount_sat: u64,
    },
    /// The same coin twice.
    #[error("coin {outpoint} stands there twice: name each coin once")]
    Duplicate {
        /// Which coin.
        outpoint: OutPoint,
    },
}

/// Writes coins as one line, its end included.
///
/// # Errors
///
/// [`CoinsError::Io`] if the line could not be written.
pub fn write_line(output: &mut impl io::Write, coins: &[Coin]) -> Result<(), CoinsError> {
    serde_json::to_writer(&mut *output, coins)?;
    output.write_all(b"\n")?;
    Ok(output.flush()?)
}

/// Reads one line of coins and leaves the rest of the input alone.
///
/// # Errors
///
/// [`CoinsError`] says what is wrong with the line.
pub fn read_line(input: &mut impl BufRead) -> Result<Vec<Coin>, CoinsError> {
    let mut line = Vec::new();
    input.take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut line)?;
    if line.len() as u64 > MAX_LINE_BYTES {
        return Err(CoinsError::TooLong);
    }
    if line.is_empty() {
        return Err(CoinsError::Missing);
    }
    let coins: Vec<Coin> = serde_json::from_slice(&line)?;
    let mut seen = HashSet::new();
    for Coin { outpoint, amount_sat, .. } in coins.iter().copied() {
        if amount_sat > Amount::MAX_MONEY.to_sat() {
            return Err(CoinsError::Amount { outpoint, amount_sat });
        }
        if !seen.insert(outpoint) {
            return Err(CoinsError::Duplicate { outpoint });
        }
    }
    Ok(coins)
}

mod outpoint_text {
    use bitcoin::OutPoint;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(outpoint: &OutPoint, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(outpoint)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OutPoint, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::Txid;
    use bitcoin::hashes::Hash as _;

    fn coin(vout: u32) -> Coin {
        let outpoint = OutPoint { txid: Txid::from_byte_array([7; 32]), vout };
        Coin { outpoint, amount_sat: 5_000, script: ScriptKind::P2tr, depth: 3 }
    }

    fn line(coins: &[Coin]) -> Vec<u8> {
        let mut line = Vec::new();
        write_line(&mut line, coins).unwrap();
        line
    }

    #[test]
    fn coins_survive_the_line_and_the_rest_of_the_input_is_left() {
        let coins = vec![coin(0), coin(1)];
        let bytes = [line(&coins), b"rest".to_vec()].concat();
        let mut input = &bytes[..];
        assert_eq!(read_line(&mut input).unwrap(), coins);
        assert_eq!(input, b"rest");
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
    }

    #[test]
    fn the_format_is_the_documented_one() {
        let text = format!(
            r#"[{{"outpoint":"{}:0","amount_sat":5000,"script":"p2tr","depth":3}}]"#,
            "07".repeat(32)
        );
        assert_eq!(String::from_utf8(line(&[coin(0)])).unwrap().trim_end(), text);
        let without_depth = text.replace(r#","depth":3"#, "");
        assert_eq!(read_line(&mut without_depth.as_bytes()).unwrap()[0].depth, 0);
    }

    #[test]
    fn each_bad_line_is_named() {
        assert!(matches!(read_line(&mut &b""[..]), Err(CoinsError::Missing)));
        assert!(matches!(read_line(&mut &b"{}\n"[..]), Err(CoinsError::Json(_))));
        let bad_outpoint = br#"[{"outpoint":"x:0","amount_sat":1,"script":"p2tr"}]"#;
        assert!(matches!(read_line(&mut &bad_outpoint[..]), Err(CoinsError::Json(_))));
        let endless = vec![b' '; MAX_LINE_BYTES as usize + 1];
        assert!(matches!(read_line(&mut &endless[..]), Err(CoinsError::TooLong)));
        let rich = Coin { amount_sat: Amount::MAX_MONEY.to_sat() + 1, ..coin(0) };
        assert!(matches!(read_line(&mut &line(&[rich])[..]), Err(CoinsError::Amount { .. })));
        let twice = line(&[coin(0), coin(0)]);
        assert!(matches!(read_line(&mut &twice[..]), Err(CoinsError::Duplicate { .. })));
    }
}
