//! What stands in `#[module(…)]`, and how the module is built.

use proc_macro2::TokenStream as Tokens;
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, Ident, LitInt, LitStr, Result, ReturnType, Signature, Token, Type};

#[derive(Default)]
pub struct Options {
    config: Option<Type>,
    name: Option<LitStr>,
    concurrency: Option<LitInt>,
    wait: Option<Ident>,
}

const WAITS: [&str; 3] = ["Spin", "Park", "SpinThenPark"];

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut options = Options::default();
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            input.parse::<Token![=]>()?;
            match key.to_string().as_str() {
                "config" => options.config = Some(input.parse()?),
                "name" => options.name = Some(name(input)?),
                "concurrency" => options.concurrency = Some(at_least_one(input)?),
                "wait" => options.wait = Some(wait(input)?),
                other => {
                    let message = format!(
                        "`#[module]` has no option `{other}`; there are: config, name, concurrency, wait"
                    );
                    return Err(Error::new(key.span(), message));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

fn name(input: ParseStream<'_>) -> Result<LitStr> {
    let name: LitStr = input.parse()?;
    let value = name.value();
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    if value.is_empty() || value.len() > 64 || !value.bytes().all(is_allowed) {
        let message =
            "a module's name has up to 64 lower-case letters, digits, `-` and `_`, as in its module.toml";
        return Err(Error::new(name.span(), message));
    }
    Ok(name)
}

fn at_least_one(input: ParseStream<'_>) -> Result<LitInt> {
    let number: LitInt = input.parse()?;
    match number.base10_parse::<u16>() {
        Ok(1..) => Ok(number),
        _ => Err(Error::new(number.span(), "`concurrency` is a number from 1 to 65535")),
    }
}

fn wait(input: ParseStream<'_>) -> Result<Ident> {
    let wait: Ident = input.parse()?;
    if WAITS.iter().any(|known| wait == known) {
        return Ok(wait);
    }
    Err(Error::new(wait.span(), "`wait` is one of: Spin, Park, SpinThenPark"))
}

impl Options {
    pub fn constants(&self) -> Tokens {
        let name = match &self.name {
            Some(name) => quote! { #name },
            None => quote! { ::core::env!("CARGO_PKG_NAME") },
        };
        let concurrency = self.concurrency.as_ref().map(|number| {
            quote! { const CONCURRENCY: usize = #number; }
        });
        let wait = self.wait.as_ref().map(|wait| {
            quote! { const WAIT: ::blvm_sdk::Wait = ::blvm_sdk::Wait::#wait; }
        });
        quote! { const NAME: &'static str = #name; #concurrency #wait }
    }

    pub fn settings(&self) -> Tokens {
        match &self.config {
            Some(config) => quote! { #config },
            None => quote! { ::blvm_sdk::module::NoSettings },
        }
    }
}

/// How `new` is called: with or without what a module is given, answering itself or a result.
pub fn call_new(new: &Signature) -> Result<Tokens> {
    if let Some(receiver) = new.receiver() {
        return Err(Error::new(
            receiver.span(),
            "`new` builds the module: it takes `start: Start`, not `self`",
        ));
    }
    if let Some(asyncness) = new.asyncness {
        return Err(Error::new(asyncness.span(), "`new` cannot be async: it runs before any handler"));
    }
    let span = new.inputs.span();
    let arguments = match new.inputs.len() {
        0 => quote! {},
        1 => quote_spanned! { span=> start },
        _ => {
            return Err(Error::new(
                span,
                "`new` takes what a module is given, `start: Start`, and nothing else",
            ));
        }
    };
    let unused = new.inputs.is_empty().then(|| quote! { let _ = start; });
    let call = quote_spanned! { new.ident.span()=> Self::new(#arguments) };
    Ok(if answers_result(&new.output) {
        quote! { #unused ::blvm_sdk::module::with_error(#call) }
    } else {
        quote! { #unused ::core::result::Result::Ok(#call) }
    })
}

/// Whether a method answers a `Result`, by whatever path: the macro sees names only.
pub fn answers_result(output: &ReturnType) -> bool {
    matches!(output, ReturnType::Type(_, answer) if last_name(answer).is_some_and(|name| name == "Result"))
}

/// The last part of a path.
pub fn last_name(kind: &Type) -> Option<&Ident> {
    match kind {
        Type::Path(path) => path.path.segments.last().map(|part| &part.ident),
        Type::Group(group) => last_name(&group.elem),
        Type::Paren(paren) => last_name(&paren.elem),
        _ => None,
    }
}
