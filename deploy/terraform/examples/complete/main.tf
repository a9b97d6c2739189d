# An MSK cluster and an RDS instance that are there, a VPC, secrets of each process, and people who operate and verify.
terraform {
  required_version = ">= 1.6"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80, < 7.0"
    }
  }
}

provider "aws" {
  region = "eu-central-1"
}

data "aws_msk_cluster" "audit" {
  cluster_name = "audit"
}

data "aws_db_instance" "audit" {
  db_instance_identifier = "audit"
}

data "aws_security_group" "kafka" {
  name = "audit-kafka"
}

data "aws_security_group" "postgres" {
  name = "audit-postgres"
}

data "aws_security_group" "endpoints" {
  name = "vpc-endpoints"
}

data "aws_kms_alias" "secrets" {
  name = "alias/audit-secrets"
}

locals {
  # MSK takes passwords from secrets whose names begin with AmazonMSK_ and which have a key of the account's own.
  clients = [
    "sequencer", "checkpointing", "postgres-sink", "archive-sink", "activity", "anomaly", "forward", "watch", "collect",
    "serve",
  ]
  with_reader = ["anomaly", "watch", "serve"]
}

data "aws_secretsmanager_secret" "kafka" {
  for_each = toset(local.clients)

  name = "AmazonMSK_sealstream-${each.key}"
}

data "aws_secretsmanager_secret" "signing_key" {
  name = "sealstream/checkpointing/main.key"
}

data "aws_secretsmanager_secret" "sink_dsn" {
  name = "sealstream/sink-dsn"
}

data "aws_secretsmanager_secret" "reader_dsn" {
  name = "sealstream/reader-dsn"
}

module "sealstream" {
  source = "../.."

  name                    = "audit"
  archive_bucket          = "example-audit-archive"
  trail_bucket            = "example-audit-trail"
  access_log_bucket       = "example-audit-access-logs"
  administrators          = ["arn:aws:iam::111122223333:role/infrastructure"]
  retention_days          = 2196
  shortest_lock_days      = 300
  trail_retention_days    = 732
  archive_transition_days = 90
  log_name                = "audit.example.com/clinic"

  run_on = "eks"
  kubernetes = {
    cluster   = "production"
    namespace = "audit"
  }

  people = {
    operator = ["arn:aws:iam::111122223333:role/audit-operators"]
    verifier = ["arn:aws:iam::111122223333:role/auditors"]
    lake     = ["arn:aws:iam::111122223333:role/analysts"]
  }

  kafka = { bootstrap = data.aws_msk_cluster.audit.bootstrap_brokers_sasl_scram }
  postgres = {
    host     = data.aws_db_instance.audit.address
    port     = data.aws_db_instance.audit.port
    database = "sealstream"
  }

  secrets = {
    for process in local.clients : process => {
      arns = concat(
        [data.aws_secretsmanager_secret.kafka[process].arn],
        process == "checkpointing" ? [data.aws_secretsmanager_secret.signing_key.arn] : [],
        process == "postgres-sink" ? [data.aws_secretsmanager_secret.sink_dsn.arn] : [],
        contains(local.with_reader, process) ? [data.aws_secretsmanager_secret.reader_dsn.arn] : [],
      )
      kms_key_arns = [data.aws_kms_alias.secrets.target_key_arn]
    }
  }

  network = {
    vpc_id                      = data.aws_security_group.kafka.vpc_id
    kafka_security_group_id     = data.aws_security_group.kafka.id
    postgres_security_group_id  = data.aws_security_group.postgres.id
    endpoints_security_group_id = data.aws_security_group.endpoints.id
  }

  forward_to = {
    pager = { cidr = "203.0.113.0/24", port = 443 }
  }

  tags = { system = "audit" }
}

output "settings" {
  description = "By process: its sealstream.toml."
  value       = module.sealstream.settings
}

output "postgres_dsns" {
  description = "By role of Postgres: its DSN without the password."
  value       = module.sealstream.postgres_dsns
}

output "trail_files" {
  description = "Where CloudTrail's log files are."
  value       = module.sealstream.trail_files
}
