//! What was learnt, as bytes that are kept over restarts.
//!
//! Version (u8), height of the last block (u32), blocks seen (u32), then every count of both horizons (f64); all
//! little-endian. What waits is not kept: how long it waits is not seen while the node is down.

use super::FeeEstimator;

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 9;

/// Why kept statistics are not taken; begin without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FeeStatisticsError {
    /// Another version of this program wrote them.
    #[error("fee statistics of version {found}, this program knows {VERSION}: they are learnt anew")]
    Version {
        /// Their version.
        found: u8,
    },
    /// They are cut or too long.
    #[error("fee statistics of {found_bytes} bytes instead of {expected_bytes}: they are learnt anew")]
    Length {
        /// Their length.
        found_bytes: usize,
        /// The length of this version.
        expected_bytes: usize,
    },
    /// A count is none.
    #[error("a count of the fee statistics is negative or no number: they are learnt anew")]
    Count,
}

impl FeeEstimator {
    /// Answers what was learnt, for [`from_bytes`](Self::from_bytes).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.best_height.to_le_bytes());
        bytes.extend(self.blocks.to_le_bytes());
        for horizon in [&self.short, &self.long] {
            bytes.extend(horizon.counts.rows().flatten().flat_map(|count| count.to_le_bytes()));
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) answered.
    ///
    /// # Errors
    ///
    /// [`FeeStatisticsError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FeeStatisticsError> {
        let mut fees = Self::default();
        let cells: usize =
            [&fees.short, &fees.long].iter().flat_map(|horizon| horizon.counts.rows()).map(Vec::len).sum();
        let expected_bytes = HEAD_BYTES + 8 * cells;
        let length = FeeStatisticsError::Length { found_bytes: bytes.len(), expected_bytes };
        let (&version, rest) = bytes.split_first().ok_or(length)?;
        if version != VERSION {
            return Err(FeeStatisticsError::Version { found: version });
        }
        if bytes.len() != expected_bytes {
            return Err(length);
        }
        let (height, rest) = rest.split_first_chunk().ok_or(length)?;
        let (blocks, mut rest) = rest.split_first_chunk().ok_or(length)?;
        (fees.best_height, fees.blocks) = (u32::from_le_bytes(*height), u32::from_le_bytes(*blocks));
        for horizon in [&mut fees.short, &mut fees.long] {
            for count in horizon.counts.rows_mut().flatten() {
                let (next, left) = rest.split_first_chunk().ok_or(length)?;
                *count = f64::from_le_bytes(*next);
                if !count.is_finite() || *count < 0.0 {
                    return Err(FeeStatisticsError::Count);
                }
                rest = left;
            }
        }
        fees.renew();
        Ok(fees)
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::Txid;
    use bitcoin::hashes::Hash as _;

    use super::super::super::rate::Rate;
    use super::*;

    #[test]
    fn what_was_learnt_comes_back_and_damage_is_refused() {
        let mut fees = FeeEstimator::default();
        for height in 0..30_u8 {
            let txids: Vec<Txid> =
                (0..5).map(|index| Txid::from_byte_array([height * 5 + index; 32])).collect();
            let rate = Rate { fee_sat: 777, virtual_bytes: 200 };
            txids.iter().for_each(|txid| fees.entered(*txid, u32::from(height), rate));
            fees.block_connected(u32::from(height) + 1, txids.into_iter());
        }
        fees.renew();
        assert!(fees.within(2, 0).is_some());
        let bytes = fees.to_bytes();
        assert_eq!(FeeEstimator::from_bytes(&bytes), Ok(fees));
        for kept in [0, 1, 8, 9, bytes.len() - 1] {
            assert!(matches!(
                FeeEstimator::from_bytes(&bytes[..kept]),
                Err(FeeStatisticsError::Length { .. })
            ));
        }
        let mut newer = bytes.clone();
        newer[0] = 2;
        assert_eq!(FeeEstimator::from_bytes(&newer), Err(FeeStatisticsError::Version { found: 2 }));
        let mut endless = bytes;
        endless[9..17].copy_from_slice(&f64::NAN.to_le_bytes());
        assert_eq!(FeeEstimator::from_bytes(&endless), Err(FeeStatisticsError::Count));
    }
}
