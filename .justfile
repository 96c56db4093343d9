# What the machine that lands a change runs.
check:
    bash .ci/run

# All tests; installs what they need.
test:
    ./setup.sh test

# Formatting and lints only: seconds.
lint:
    cargo fmt --check
    cargo clippy --all-targets --locked -- -D warnings

# Accept new snapshots.
bless:
    INSTA_UPDATE=always cargo test

# The figures of the README, as ratios.
bench:
    cargo build --release --locked
    cargo bench --locked --bench spine

# Coverage-guided fuzzing, a minute for each target (needs g++).
fuzz:
    tests/fuzz/run

# The public documentation, beginning with the architecture page.
docs:
    cargo doc --no-deps --document-private-items

# Licences and advisories (needs cargo-deny).
deny:
    cargo deny --config .deny.toml check
