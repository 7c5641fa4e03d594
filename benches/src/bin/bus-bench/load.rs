//! What is sent: messages in slots and bodies in terms, and how their content is checked.
//!
//! | bytes | topic |
//! |---|---|
//! | 32, 96 | slots of 128 bytes, as `chain` |
//! | 128, 256, 512, 1,024 | slots of 192, 320, 576, 1,088 bytes |
//! | multiples of 64 from 4,096 to 8 MiB | bodies under lease: slots of 128 bytes, 18 terms of 8 MiB, as `chain` |
//!
//! All rings are 1,024 deep. Every message carries its sequence at its start and its complement at its end (a body: a
//! pattern), so that a mixture of two messages is found.

use std::hint::black_box;
use std::ops::Range;

use blvm_benches::stamp;
use blvm_benches::topic::{Announced, Bodies, Copied, Message, Slots};
use blvm_bus::message::Topic;
use blvm_bus::publisher::Publisher;
use blvm_bus::subscriber::{Body, Sample};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::Outcome;

/// How much of a body the subscriber reads before it has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Touch {
    /// The first word.
    Header,
    /// Every byte, summed.
    All,
}

impl Touch {
    pub fn name(self) -> &'static str {
        match self {
            Touch::Header => "header",
            Touch::All => "all",
        }
    }
}

/// With how much care a message is received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Care {
    /// Stamped when in hand, then checked as far as it costs little.
    Timed,
    /// Checked as far as it costs little.
    Untimed,
    /// Every byte is compared.
    Whole,
}

/// A message in hand.
#[derive(Debug, Clone, Copy)]
pub struct Received {
    /// Taken just before publish.
    pub sent: u64,
    /// Taken when it was in hand.
    pub received: u64,
}

/// One size of message: both sides.
pub trait Load {
    type Topic: Topic;

    /// How many may be on their way without one being overwritten.
    fn window(&self) -> u64;

    /// How many go once round all memory.
    fn lap(&self) -> u64;

    /// Publishes message number `sequence`; its stamp, if it is to have one, is taken right before.
    fn publish(
        &mut self,
        publisher: &mut Publisher<Self::Topic>,
        sequence: u64,
        is_stamped: bool,
    ) -> Outcome<()>;

    /// Publishes messages of these sequences at once, without stamps of the harness.
    fn publish_batch(&mut self, publisher: &mut Publisher<Self::Topic>, sequences: Range<u64>)
    -> Outcome<()>;

    /// Takes the message in hand and checks it; `None` if its body is gone.
    fn receive(&mut self, sample: &Sample<'_, Self::Topic>, care: Care) -> Outcome<Option<Received>>;
}

/// Runs an expression with the load of `bytes`.
macro_rules! with_load {
    ($bytes:expr, $touch:expr, $load:ident => $run:expr) => {
        match $bytes {
            32 => {
                let $load = $crate::load::InSlot::<32, 128>::new();
                $run
            }
            96 => {
                let $load = $crate::load::InSlot::<96, 128>::new();
                $run
            }
            128 => {
                let $load = $crate::load::InSlot::<128, 192>::new();
                $run
            }
            256 => {
                let $load = $crate::load::InSlot::<256, 320>::new();
                $run
            }
            512 => {
                let $load = $crate::load::InSlot::<512, 576>::new();
                $run
            }
            1024 => {
                let $load = $crate::load::InSlot::<1024, 1088>::new();
                $run
            }
            bytes => {
                let $load = $crate::load::InTerm::new(bytes, $touch);
                $run
            }
        }
    };
}
pub(crate) use with_load;

/// Whether it is the size of a body.
pub fn is_body(bytes: usize) -> bool {
    bytes > 1024
}

/// Reads a size as a number of bytes with an optional K or M (1,024 and its square).
pub fn parse_bytes(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.strip_suffix(['K', 'k']) {
        Some(digits) => (digits, 1 << 10),
        None => text.strip_suffix(['M', 'm']).map_or((text, 1), |digits| (digits, 1 << 20)),
    };
    let bytes = digits.parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
    let is_known = |bytes: &usize| {
        [32, 96, 128, 256, 512, 1024].contains(bytes)
            || ((4096..=8 << 20).contains(bytes) && bytes.is_multiple_of(64))
    };
    bytes
        .filter(is_known)
        .ok_or_else(|| "take 32, 96, 128, 256, 512, 1K, or a multiple of 64 from 4K to 8M".to_owned())
}

/// A message in its slot.
#[derive(Debug)]
pub struct InSlot<const BYTES: usize, const SLOT_BYTES: u32> {
    message: Message<BYTES, SLOT_BYTES>,
}

impl<const BYTES: usize, const SLOT_BYTES: u32> InSlot<BYTES, SLOT_BYTES> {
    pub fn new() -> Self {
        InSlot { message: Message { bytes: std::array::from_fn(|index| index as u8 ^ 0x5a) } }
    }

    #[inline]
    fn number(&mut self, sequence: u64) {
        let bytes = &mut self.message.bytes;
        bytes[8..16].copy_from_slice(&sequence.to_le_bytes());
        bytes[BYTES - 8..].copy_from_slice(&(!sequence).to_le_bytes());
    }
}

impl<const BYTES: usize, const SLOT_BYTES: u32> Load for InSlot<BYTES, SLOT_BYTES> {
    type Topic = Slots<SLOT_BYTES>;

    fn window(&self) -> u64 {
        u64::from(Self::Topic::GEOMETRY.depth)
    }

    fn lap(&self) -> u64 {
        self.window()
    }

    #[inline]
    fn publish(
        &mut self,
        publisher: &mut Publisher<Self::Topic>,
        sequence: u64,
        is_stamped: bool,
    ) -> Outcome<()> {
        self.number(sequence);
        if is_stamped {
            self.message.bytes[..8].copy_from_slice(&stamp::now().to_le_bytes());
        }
        publisher.publish(&self.message)?;
        Ok(())
    }

    #[inline]
    fn publish_batch(
        &mut self,
        publisher: &mut Publisher<Self::Topic>,
        sequences: Range<u64>,
    ) -> Outcome<()> {
        let mut batch = publisher.batch();
        for sequence in sequences {
            self.number(sequence);
            batch.push(&self.message)?;
        }
        Ok(())
    }

    #[inline]
    fn receive(&mut self, sample: &Sample<'_, Self::Topic>, care: Care) -> Outcome<Option<Received>> {
        let bytes = black_box(sample.event()?);
        let received = if care == Care::Timed { stamp::now_ordered() } else { 0 };
        // Private by now: checking is not part of the time.
        if bytes.len() != BYTES
            || word(bytes, 8) != sample.sequence()
            || word(bytes, BYTES - 8) != !sample.sequence()
            || bytes[16..BYTES - 8] != self.message.bytes[16..BYTES - 8]
        {
            return Err(format!("message {} arrived damaged", sample.sequence()).into());
        }
        Ok(Some(Received { sent: word(bytes, 0), received }))
    }
}

/// A message whose body stands in a term.
#[derive(Debug)]
pub struct InTerm {
    source: Vec<u8>,
    /// Sum of all words of the source but the first.
    sum: u64,
    touch: Touch,
}

impl InTerm {
    pub fn new(bytes: usize, touch: Touch) -> Self {
        let mut source = vec![0; bytes];
        let mut state = 1_u64;
        for chunk in source.chunks_exact_mut(8) {
            // A generator whose every word differs (Knuth's MMIX).
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            chunk.copy_from_slice(&state.to_le_bytes());
        }
        let sum = sum(&source).wrapping_sub(word(&source, 0));
        InTerm { source, sum, touch }
    }

    fn per_term(&self) -> u64 {
        (Bodies::GEOMETRY.term_bytes as usize / self.source.len()) as u64
    }
}

impl Load for InTerm {
    type Topic = Bodies;

    fn window(&self) -> u64 {
        // Below what all terms but the two that are being entered hold, and below the depth.
        (self.per_term() * u64::from(Bodies::GEOMETRY.terms - 4)).min(u64::from(Bodies::GEOMETRY.depth) / 2)
    }

    fn lap(&self) -> u64 {
        self.per_term() * u64::from(Bodies::GEOMETRY.terms)
    }

    fn publish(&mut self, publisher: &mut Publisher<Bodies>, sequence: u64, is_stamped: bool) -> Outcome<()> {
        let sent = if is_stamped { stamp::now() } else { 0 };
        let body = Copied { first: sequence, source: &self.source };
        let announced = Announced { words: [sent, sequence, self.source.len() as u64] };
        let published = publisher.publish_with_body(&announced, &body)?;
        if !published.has_body {
            return Err(format!("body {sequence} found no term").into());
        }
        Ok(())
    }

    /// Bodies have no batches.
    fn publish_batch(&mut self, publisher: &mut Publisher<Bodies>, mut sequences: Range<u64>) -> Outcome<()> {
        sequences.try_for_each(|sequence| self.publish(publisher, sequence, false))
    }

    fn receive(&mut self, sample: &Sample<'_, Bodies>, care: Care) -> Outcome<Option<Received>> {
        let announced = sample.event()?;
        let body = match sample.body()? {
            Body::InPlace(body) => body,
            Body::Gone => return Ok(None),
            Body::Copied(_) | Body::None => {
                return Err(format!("message {} has no body in place", sample.sequence()).into());
            }
        };
        let bytes = body.bytes();
        let first = black_box(word(bytes, 0));
        let total = if self.touch == Touch::All { black_box(sum(bytes)) } else { 0 };
        let received = if care == Care::Timed { stamp::now_ordered() } else { 0 };
        let length = self.source.len();
        let is_sum_right = self.touch != Touch::All || total == self.sum.wrapping_add(first);
        if (announced.len(), bytes.len()) != (24, length)
            || word(announced, 8) != sample.sequence()
            || first != sample.sequence()
            || !is_sum_right
            || word(bytes, length - 8) != word(&self.source, length - 8)
            || (care == Care::Whole && bytes[8..] != self.source[8..])
        {
            return Err(format!("body {} arrived damaged", sample.sequence()).into());
        }
        Ok(Some(Received { sent: word(announced, 0), received }))
    }
}

fn word(bytes: &[u8], start: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[start..start + 8]);
    u64::from_le_bytes(word)
}

fn sum(bytes: &[u8]) -> u64 {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().fold(0, |sum: u64, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}
