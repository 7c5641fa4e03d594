//! `#[on_missed]`, `#[on_missed(TOPIC)]`: messages were lost.

use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::{Error, Path, Result, Signature};

use crate::handler::{Parameter, call_for_result};

pub fn handler(topic: Option<&Path>, signature: &Signature, parameters: &[Parameter]) -> Result<Tokens> {
    let mut arguments = Vec::new();
    for Parameter { name, .. } in parameters {
        arguments.push(match name.to_string().as_str() {
            "topic" => quote! { missed.topic },
            "messages" => quote! { missed.messages },
            other => {
                let message = format!(
                    "of what was missed there is no `{other}`: a handler takes `topic: &str` and `messages: u64`"
                );
                return Err(Error::new(name.span(), message));
            }
        });
    }
    let name = signature.ident.to_string();
    let call = call_for_result(signature, &arguments);
    let run = quote! { |module, missed| { let _ = &missed; #call } };
    Ok(match topic {
        Some(topic) => quote! { handlers.on_missed::<#topic>(#name, #run); },
        None => quote! { handlers.on_any_missed(#name, #run); },
    })
}
