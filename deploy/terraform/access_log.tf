# S3's own log of requests to the other two buckets. It is delivered as S3 sees fit; the trail is the evidence.
resource "aws_s3_bucket" "access_log" {
  #checkov:skip=CKV_AWS_18: it holds the others' access logs; its own would be logs of logs
  #checkov:skip=CKV_AWS_144: access logs are no evidence; the trail is
  #checkov:skip=CKV_AWS_145: S3 delivers access logs only to buckets that are encrypted with S3's own keys
  #checkov:skip=CKV2_AWS_62: nobody waits for objects here: Sealstream asks the bucket itself
  bucket = var.access_log_bucket
  tags   = var.tags
}

resource "aws_s3_bucket_versioning" "access_log" {
  bucket = aws_s3_bucket.access_log.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "access_log" {
  bucket = aws_s3_bucket.access_log.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_public_access_block" "access_log" {
  bucket                  = aws_s3_bucket.access_log.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "access_log" {
  bucket = aws_s3_bucket.access_log.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "access_log" {
  bucket = aws_s3_bucket.access_log.id

  rule {
    id     = "old-logs"
    status = "Enabled"

    filter {}

    expiration {
      days = var.access_log_days
    }

    noncurrent_version_expiration {
      noncurrent_days = 1
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  depends_on = [aws_s3_bucket_versioning.access_log]
}

resource "aws_s3_bucket_policy" "access_log" {
  bucket = aws_s3_bucket.access_log.id
  policy = module.documents.access_log_bucket_policy

  depends_on = [
    aws_s3_bucket_lifecycle_configuration.access_log,
    aws_s3_bucket_ownership_controls.access_log,
    aws_s3_bucket_public_access_block.access_log,
    aws_s3_bucket_server_side_encryption_configuration.access_log,
  ]
}
