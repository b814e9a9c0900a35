# Everything a checkout needs is fetched or built into it: .cache, dist and target.
#
#   ENVOY=/path/to/envoy     test and run with another Envoy
#   ENVOY_VERSION=1.36.4     or with another version of it
#   CHROMIUM=/path/to/it     have another browser read refusals
#   KUBECTL=/path/to/kubectl render Istio's manifests with another kubectl
#   BENCH=full               measure for long, and more

SHELL := /bin/sh
PYTHON ?= python3
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
WASM_TARGET := wasm32-wasip1
MUSL_TARGET := $(shell uname -m)-unknown-linux-musl
MODULE := dist/mesh-jwt.wasm
LAB := $(TARGET_DIR)/tools/lab

# $(call need,command,how to install it)
need = @command -v $(1) >/dev/null || { echo "$(1) is missing; install it with: $(2)" >&2; exit 1; }

.DEFAULT_GOAL := help
.PHONY: help build cli services static envoy kubectl run demo compose-up compose-down test bench profile image docs \
  lint clean programs cargo wasm-target musl-target python wrk

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

# One crate type at a time: with rlib beside it, cargo links the module without LTO. Where the
# sources of dependencies are on this machine has no place in the module.
build: REMAP = --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)/registry/src/=
build: programs wasm-target ## Build the filter: dist/mesh-jwt.wasm
	cargo rustc --locked --release -p mesh-jwt --lib --crate-type cdylib --target $(WASM_TARGET) \
	  --config 'target.$(WASM_TARGET).rustflags = ["$(REMAP)"]'
	@$(LAB) module $(TARGET_DIR)/$(WASM_TARGET)/release/mesh_jwt.wasm $(MODULE)

# Of its dependencies, ring compiles C. It needs no libc for that, so that the compiler need not be musl's.
cli: cargo musl-target ## Build the command line, a static binary: dist/mesh-jwt
	CC_$(subst -,_,$(MUSL_TARGET))=cc \
	  cargo build --locked --release -p mesh-jwt --bin mesh-jwt --target $(MUSL_TARGET)
	@mkdir -p dist
	@cp $(TARGET_DIR)/$(MUSL_TARGET)/release/mesh-jwt dist/mesh-jwt

services: programs ## Build the demo services

static: cargo musl-target ## Build the demo services for images FROM scratch: dist/static
	cargo build --locked --profile tools -p mesh-jwt-demo --target $(MUSL_TARGET)
	@mkdir -p dist/static
	@cp $(addprefix $(TARGET_DIR)/$(MUSL_TARGET)/tools/,auth-service user-service) dist/static

envoy: python ## Fetch Envoy, unless it is there or ENVOY names one
	@$(PYTHON) envoy/install.py

kubectl: python ## Fetch kubectl, unless it is there or KUBECTL names one
	@$(PYTHON) istio/kubectl.py

run: build programs envoy ## Run the demo on localhost:10000 until Ctrl-C
	@$(LAB) run

demo: build programs envoy ## Replay the two-pod incident and print the table
	@$(LAB) demo

compose-up: build programs envoy $(if $(filter source,$(SERVICES_FROM)),,static) ## Run the demo in containers, on localhost:10000
	@$(LAB) compose up

compose-down: programs ## Stop those containers
	@$(LAB) compose down

test: build services envoy kubectl ## Run all tests, with the real module in a real Envoy
	cargo test --locked --workspace --no-fail-fast

bench: wrk build envoy ## Measure what a check costs, beside Envoy's own jwt_authn
	cargo build --locked --profile service -p mesh-jwt-demo --bin user-service
	@$(LAB) bench $(BENCH)

profile: wrk build envoy ## Measure what each call of the host costs
	@$(LAB) profile

image: build ## Pack the filter for Istio: dist/image, an OCI image layout
	@cargo run --locked --profile tools --quiet -p mesh-jwt-lab -- image $(MODULE) dist/image

docs: cargo ## Write what is generated of the configuration's types: schemas and reference
	cargo build --locked --bin mesh-jwt
	@$(TARGET_DIR)/debug/mesh-jwt schema > istio/plugin-config.schema.json
	@$(TARGET_DIR)/debug/mesh-jwt schema --of wasm-plugin > istio/extension.schema.json
	@$(TARGET_DIR)/debug/mesh-jwt schema --reference > docs/configuration.md

lint: cargo wasm-target python ## Check format, lints and documentation
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked -p mesh-jwt --lib --target $(WASM_TARGET) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
	$(PYTHON) -m py_compile envoy/*.py istio/*.py

clean: cargo ## Remove everything that was built or fetched
	cargo clean
	rm -rf .cache dist

# The services and the tools at once: what they share is built once, with the features of both. What
# only `make image` needs takes long to compile.
programs: cargo
	cargo build --locked --profile tools --no-default-features -p mesh-jwt-demo -p mesh-jwt-lab

cargo:
	$(call need,cargo,curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh)
	$(call need,cc,apt-get install build-essential)

# $(call rust-target,target)
define rust-target
@test -d "$$(rustc --print sysroot)/lib/rustlib/$(1)" || { \
  command -v rustup >/dev/null || { \
    echo "rustup is missing, which adds the target $(1); install it with:" \
      "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh" >&2; exit 1; }; \
  rustup target add $(1); }
endef

wasm-target: cargo
	$(call rust-target,$(WASM_TARGET))

musl-target: cargo
	$(call rust-target,$(MUSL_TARGET))

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null || { \
	  echo "Python 3.9 or newer is missing; install it with: apt-get install python3" >&2; exit 1; }

wrk:
	$(call need,wrk,apt-get install wrk)
