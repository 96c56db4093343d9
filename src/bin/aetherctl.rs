//! Entry point of `aetherctl`; everything is in [`aether::ctl`].

fn main() -> std::process::ExitCode {
    aether::ctl::main()
}
