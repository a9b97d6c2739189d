# Who did what with the archive, its keys and its roles, told by AWS: in every region, each object of the archive
# included, with digests that are signed, in a bucket that nobody can delete from.
resource "aws_s3_bucket" "trail" {
  #checkov:skip=CKV_AWS_144: a second region is the user's decision (docs/aws.md); what counts is the version in this bucket
  #checkov:skip=CKV2_AWS_62: nobody waits for objects here: Sealstream asks the bucket itself
  #checkov:skip=CKV_AWS_145: CloudTrail encrypts its log files with the trail's key, whatever the bucket's default is
  bucket              = var.trail_bucket
  object_lock_enabled = true
  tags                = var.tags

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_versioning" "trail" {
  bucket = aws_s3_bucket.trail.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_object_lock_configuration" "trail" {
  bucket = aws_s3_bucket.trail.id

  rule {
    default_retention {
      mode = "COMPLIANCE"
      days = var.trail_retention_days
    }
  }

  depends_on = [aws_s3_bucket_versioning.trail]
}

# CloudTrail encrypts log files itself, with the trail's key; this is for what it puts besides.
resource "aws_s3_bucket_server_side_encryption_configuration" "trail" {
  bucket = aws_s3_bucket.trail.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_public_access_block" "trail" {
  bucket                  = aws_s3_bucket.trail.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "trail" {
  bucket = aws_s3_bucket.trail.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_logging" "trail" {
  bucket        = aws_s3_bucket.trail.id
  target_bucket = aws_s3_bucket.access_log.id
  target_prefix = "trail/"

  depends_on = [aws_s3_bucket_policy.access_log]
}

resource "aws_s3_bucket_lifecycle_configuration" "trail" {
  bucket = aws_s3_bucket.trail.id

  rule {
    id     = "unfinished-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  depends_on = [aws_s3_bucket_versioning.trail]
}

resource "aws_s3_bucket_policy" "trail" {
  bucket = aws_s3_bucket.trail.id
  policy = module.documents.trail_bucket_policy

  depends_on = [
    aws_s3_bucket_lifecycle_configuration.trail,
    aws_s3_bucket_logging.trail,
    aws_s3_bucket_object_lock_configuration.trail,
    aws_s3_bucket_ownership_controls.trail,
    aws_s3_bucket_public_access_block.trail,
    aws_s3_bucket_server_side_encryption_configuration.trail,
  ]
}

resource "aws_cloudtrail" "this" {
  #checkov:skip=CKV_AWS_252: digests vouch for the files; `sealstream import cloudtrail --validate` looks for them itself
  #checkov:skip=CKV2_AWS_10: the bucket is the evidence; who wants CloudWatch Logs besides makes a trail for them
  name                          = var.name
  s3_bucket_name                = aws_s3_bucket.trail.id
  kms_key_id                    = aws_kms_key.trail.arn
  enable_logging                = true
  enable_log_file_validation    = true
  include_global_service_events = true
  is_multi_region_trail         = true
  tags                          = var.tags

  advanced_event_selector {
    name = "management"

    field_selector {
      field  = "eventCategory"
      equals = ["Management"]
    }
  }

  advanced_event_selector {
    name = "objects-of-the-archive"

    field_selector {
      field  = "eventCategory"
      equals = ["Data"]
    }

    field_selector {
      field  = "resources.type"
      equals = ["AWS::S3::Object"]
    }

    field_selector {
      field       = "resources.ARN"
      starts_with = ["${aws_s3_bucket.archive.arn}/"]
    }
  }

  depends_on = [aws_kms_key_policy.trail, aws_s3_bucket_policy.trail]
}
