//! `#[every("10s")]`, `#[every(Self::interval)]`.

use proc_macro2::TokenStream as Tokens;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, Result, Signature};

use crate::attributes::Interval;
use crate::handler::{Parameter, call_for_result};

pub fn handler(interval: &Interval, signature: &Signature, parameters: &[Parameter]) -> Result<Tokens> {
    if let Some(parameter) = parameters.first() {
        return Err(Error::new(parameter.name.span(), "a timer's handler takes nothing but `&self`"));
    }
    let name = signature.ident.to_string();
    let call = call_for_result(signature, &[]);
    let interval = match interval {
        Interval::Written(interval) => interval,
        Interval::Asked(path) => {
            // Where it is written the compiler says what is wrong with it.
            return Ok(quote_spanned! { path.span()=>
                handlers.every_of(#name, |module: &Self| -> ::core::time::Duration { #path(module) }, |module| #call);
            });
        }
    };
    let milliseconds = milliseconds(&interval.value()).ok_or_else(|| {
        let message =
            "an interval is a number and ms, s, m or h, from \"1ms\" to \"8760h\": `#[every(\"10s\")]`";
        Error::new(interval.span(), message)
    })?;
    Ok(quote! {
        handlers.every(#name, ::core::time::Duration::from_millis(#milliseconds), |module| #call);
    })
}

/// A year at most.
const MOST: u64 = 365 * 24 * 3_600_000;

fn milliseconds(text: &str) -> Option<u64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let milliseconds = number.parse::<u64>().ok()?.checked_mul(unit)?;
    (1..=MOST).contains(&milliseconds).then_some(milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_a_number_and_a_unit() {
        assert_eq!(milliseconds("1ms"), Some(1));
        assert_eq!(milliseconds("10s"), Some(10_000));
        assert_eq!(milliseconds("5 m"), Some(300_000));
        assert_eq!(milliseconds("8760h"), Some(MOST));
        for wrong in ["", "10", "s", "0s", "-1s", "1.5s", "1d", "8761h", "99999999999999999999s"] {
            assert_eq!(milliseconds(wrong), None, "{wrong}");
        }
    }
}
