# Every policy and every settings file, made of text alone: no provider is needed, so that they can be looked at and
# tested before anything is made (`terraform apply` in this folder makes nothing).

terraform {
  required_version = ">= 1.6"
}

locals {
  archive_arn    = "arn:${var.partition}:s3:::${var.archive_bucket}"
  trail_arn      = "arn:${var.partition}:s3:::${var.trail_bucket}"
  access_log_arn = "arn:${var.partition}:s3:::${var.access_log_bucket}"
  role_arns      = { for process in keys(var.processes) : process => "arn:${var.partition}:iam::${var.account_id}:role/${var.name}-${process}" }

  # The processes that call AWS at all, and what they may call.
  policy_files = {
    archive-sink = "archive-sink"
    serve        = "archive-reader"
    verifier     = "archive-reader"
    watch        = "watch"
    operator     = "operator"
    import       = "import"
    lake         = "lake"
  }

  # Each process connects to Postgres as these roles of Sealstream's.
  postgres_roles = {
    postgres-sink = ["sink"]
    anomaly       = ["reader"]
    watch         = ["reader"]
    serve         = ["reader"]
    verifier      = ["reader"]
    import        = ["reader"]
    operator      = ["admin", "keeper", "reader", "sink"]
  }
  postgres_users = {
    admin  = "postgres"
    sink   = "sealstream_sink"
    reader = "sealstream_reader"
    keeper = "sealstream_keeper"
  }
}

output "archive_bucket_policy" {
  description = "Of the archive's bucket."
  value = templatefile("${path.module}/policies/archive-bucket.json.tftpl", {
    bucket_arn            = local.archive_arn
    archive_key_arn       = var.archive_key_arn
    archive_sink_role_arn = local.role_arns["archive-sink"]
    operator_role_arn     = local.role_arns["operator"]
    shortest_lock_days    = var.shortest_lock_days
    administrators        = var.administrators
  })
}

output "trail_bucket_policy" {
  description = "Of the bucket that CloudTrail writes to."
  value = templatefile("${path.module}/policies/trail-bucket.json.tftpl", {
    bucket_arn     = local.trail_arn
    trail_arn      = var.trail_arn
    account_id     = var.account_id
    administrators = var.administrators
  })
}

output "access_log_bucket_policy" {
  description = "Of the bucket of access logs."
  value = templatefile("${path.module}/policies/access-log-bucket.json.tftpl", {
    bucket_arn         = local.access_log_arn
    archive_bucket_arn = local.archive_arn
    trail_bucket_arn   = local.trail_arn
    account_id         = var.account_id
    administrators     = var.administrators
  })
}

output "archive_key_policy" {
  description = "Of the key of the archive's objects."
  value = templatefile("${path.module}/policies/archive-key.json.tftpl", {
    partition      = var.partition
    account_id     = var.account_id
    region         = var.region
    administrators = var.administrators
  })
}

output "trail_key_policy" {
  description = "Of the key of CloudTrail's log files."
  value = templatefile("${path.module}/policies/trail-key.json.tftpl", {
    partition      = var.partition
    account_id     = var.account_id
    trail_arn      = var.trail_arn
    administrators = var.administrators
  })
}

output "processes_with_policy" {
  description = "The processes that call AWS."
  value       = keys(local.policy_files)
}

output "process_policies" {
  description = "By process that calls AWS: what it may call."
  value = {
    for process, file in local.policy_files : process => templatefile("${path.module}/policies/${file}.json.tftpl", {
      bucket_arn       = local.archive_arn
      archive_key_arn  = var.archive_key_arn
      trail_bucket_arn = local.trail_arn
      trail_key_arn    = var.trail_key_arn
      region           = var.region
    })
  }
}

output "secrets_policies" {
  description = "By process: that it, or who starts it, may read its secrets."
  value = {
    for process, given in var.secrets : process => templatefile("${path.module}/policies/secrets.json.tftpl", {
      secret_arns  = given.arns
      kms_key_arns = given.kms_key_arns
      region       = var.region
    })
  }
}

output "trust_policies" {
  description = "By process: who may be it."
  value = {
    for process in keys(var.processes) : process => contains(keys(var.people), process) ? templatefile("${path.module}/policies/trust-people.json.tftpl", {
      people = var.people[process]
      }) : templatefile("${path.module}/policies/trust-${var.run_on}.json.tftpl", {
      partition         = var.partition
      account_id        = var.account_id
      region            = var.region
      cluster           = var.kubernetes.cluster
      namespace         = var.kubernetes.namespace
      service_account   = "${var.kubernetes.service_account_prefix}${process}"
      oidc_provider_arn = var.kubernetes.oidc_provider_arn
      oidc_issuer       = var.kubernetes.oidc_issuer
    })
  }
}

output "execution_trust_policy" {
  description = "Who may start a process on ECS."
  value = templatefile("${path.module}/policies/trust-ecs.json.tftpl", {
    partition  = var.partition
    account_id = var.account_id
    region     = var.region
  })
}

output "settings" {
  description = "By process: its sealstream.toml."
  value = {
    for process, needs in var.processes : process => templatefile("${path.module}/settings/sealstream.toml.tftpl", {
      process           = process
      log_name          = var.log_name
      bootstrap         = var.kafka.bootstrap
      prefix            = var.kafka.prefix
      replication       = var.kafka.replication
      secrets_directory = var.secrets_directory
      postgres_roles    = needs.postgres && var.postgres != null ? local.postgres_roles[process] : []
      bucket            = needs.archive ? var.archive_bucket : ""
      region            = var.region
    }) if needs.kafka
  }
}

output "postgres_dsns" {
  description = "By role: its DSN without the password."
  value = var.postgres == null ? {} : {
    for role, user in local.postgres_users : role => "postgresql://${user}@${var.postgres.host}:${var.postgres.port}/${var.postgres.database}?sslmode=verify-full&sslrootcert=${var.postgres.ca_file}"
  }
}
