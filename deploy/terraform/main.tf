data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  region     = data.aws_region.current.id

  trail_arn = "arn:${local.partition}:cloudtrail:${local.region}:${local.account_id}:trail/${var.name}"

  # Whether a process connects to Kafka, Postgres and the archive; a part that it does not need it can't reach.
  processes = {
    sequencer     = { kafka = true, postgres = false, archive = false }
    checkpointing = { kafka = true, postgres = false, archive = false }
    postgres-sink = { kafka = true, postgres = true, archive = false }
    archive-sink  = { kafka = true, postgres = false, archive = true }
    activity      = { kafka = true, postgres = false, archive = false }
    anomaly       = { kafka = true, postgres = true, archive = false }
    forward       = { kafka = true, postgres = false, archive = false }
    watch         = { kafka = true, postgres = true, archive = true }
    collect       = { kafka = true, postgres = false, archive = false }
    outbox-relay  = { kafka = true, postgres = false, archive = false }
    serve         = { kafka = true, postgres = true, archive = true }
    verifier      = { kafka = true, postgres = true, archive = true }
    import        = { kafka = true, postgres = true, archive = true }
    operator      = { kafka = true, postgres = true, archive = true }
    lake          = { kafka = false, postgres = false, archive = true }
  }
}

module "documents" {
  source = "./documents"

  partition  = local.partition
  region     = local.region
  account_id = local.account_id
  name       = var.name

  archive_bucket     = var.archive_bucket
  trail_bucket       = var.trail_bucket
  access_log_bucket  = var.access_log_bucket
  archive_key_arn    = aws_kms_key.archive.arn
  trail_key_arn      = aws_kms_key.trail.arn
  trail_arn          = local.trail_arn
  administrators     = var.administrators
  shortest_lock_days = var.shortest_lock_days

  run_on     = var.run_on
  kubernetes = var.kubernetes
  processes  = local.processes
  people     = var.people
  secrets    = var.secrets

  kafka             = var.kafka
  postgres          = var.postgres
  log_name          = var.log_name
  secrets_directory = var.secrets_directory
}
