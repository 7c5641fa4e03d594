use blvm_sdk::prelude::*;

struct Watch;

#[module]
impl<T> Watch<T> {
    fn new(_: Start) -> Result<Self, Error> {
        unimplemented!()
    }
}

fn main() -> ExitCode {
    blvm_sdk::run::<Watch>()
}
