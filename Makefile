# Thin calls: the work is in k8s/local/ and in cargo. `make` alone prints what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help up up_build down start stop dev test bench lint fmt urls

help: ## print this list
	@awk -F ':.*## ' '/^[a-z_]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## a real Kubernetes here and the sample Stack on it; CLUSTER=current uses kubectl's cluster
	@k8s/local/up.sh

up_build: ## the same, with everything of ours compiled anew (make up compiles what has changed)
	@WEFT_COMPILE_ANEW=1 k8s/local/up.sh

down: ## end and erase exactly what make up made
	@k8s/local/down.sh

start: ## bring the sample's front end back, by an edit of the Stack
	@k8s/local/frontend.sh start

stop: ## take it away, by an edit of the Stack
	@k8s/local/frontend.sh stop

dev: ## the services and their stores as plain processes on loopback, no Kubernetes
	@k8s/local/dev.sh

test: ## every check and every test
	@k8s/local/test.sh

bench: ## measure, print a table, write target/bench/report.json
	@k8s/local/bench.sh

lint: ## format, clippy, dependencies, shell scripts
	@k8s/local/lint.sh

fmt: ## format the Rust code
	@cargo fmt --all

urls: ## NAME=value lines: where the running sample answers
	@k8s/local/urls.sh
