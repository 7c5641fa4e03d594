//! `#[on_mempool]`: the mempool has changed.

use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::{Error, Result, Signature};

use crate::handler::{Parameter, call_for_result};

pub fn handler(signature: &Signature, parameters: &[Parameter]) -> Result<Tokens> {
    if parameters.len() != 1 {
        let message = "such a handler takes one parameter: `mempool: &MempoolView`";
        return Err(Error::new(signature.ident.span(), message));
    }
    let name = signature.ident.to_string();
    let call = call_for_result(signature, &[quote! { mempool }]);
    Ok(quote! { handlers.on_mempool(#name, |module, mempool| #call); })
}
