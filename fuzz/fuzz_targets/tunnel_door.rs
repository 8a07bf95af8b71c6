//! Do any bytes from the underlay get where they must not? See `weft_fuzz::doors::tunnel_door`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weft_fuzz::doors::tunnel_door(bytes));

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    weft_fuzz::replay(weft_fuzz::doors::tunnel_door)
}
