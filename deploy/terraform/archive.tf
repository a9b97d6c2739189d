resource "aws_s3_bucket" "archive" {
  #checkov:skip=CKV_AWS_144: a second region is the user's decision (docs/aws.md); what counts is the version in this bucket
  #checkov:skip=CKV2_AWS_62: nobody waits for objects here: Sealstream asks the bucket itself
  bucket              = var.archive_bucket
  object_lock_enabled = true
  tags                = var.tags

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_versioning" "archive" {
  bucket = aws_s3_bucket.archive.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_object_lock_configuration" "archive" {
  bucket = aws_s3_bucket.archive.id

  rule {
    default_retention {
      mode = "COMPLIANCE"
      days = var.retention_days
    }
  }

  depends_on = [aws_s3_bucket_versioning.archive]
}

resource "aws_s3_bucket_server_side_encryption_configuration" "archive" {
  bucket = aws_s3_bucket.archive.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.archive.arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "archive" {
  bucket                  = aws_s3_bucket.archive.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "archive" {
  bucket = aws_s3_bucket.archive.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_logging" "archive" {
  bucket        = aws_s3_bucket.archive.id
  target_bucket = aws_s3_bucket.access_log.id
  target_prefix = "archive/"

  depends_on = [aws_s3_bucket_policy.access_log]
}

resource "aws_s3_bucket_lifecycle_configuration" "archive" {
  #checkov:skip=CKV_AWS_300: the first rule does so for the whole bucket; checkov wants it in the other rule too
  bucket = aws_s3_bucket.archive.id

  rule {
    id     = "unfinished-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  dynamic "rule" {
    for_each = var.archive_transition_days == null ? [] : [var.archive_transition_days]

    content {
      id     = "instant-retrieval"
      status = "Enabled"

      filter {
        prefix = "entries/"
      }

      transition {
        days          = rule.value
        storage_class = "GLACIER_IR"
      }
    }
  }

  depends_on = [aws_s3_bucket_versioning.archive]
}

resource "aws_s3_bucket_policy" "archive" {
  bucket = aws_s3_bucket.archive.id
  policy = module.documents.archive_bucket_policy

  # The policy lets nobody else change these afterwards, so they are made before it.
  depends_on = [
    aws_iam_role.process,
    aws_s3_bucket_lifecycle_configuration.archive,
    aws_s3_bucket_logging.archive,
    aws_s3_bucket_object_lock_configuration.archive,
    aws_s3_bucket_ownership_controls.archive,
    aws_s3_bucket_public_access_block.archive,
    aws_s3_bucket_server_side_encryption_configuration.archive,
  ]
}
