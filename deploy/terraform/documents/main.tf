# Policies and event patterns. This module has no resource and no provider.

locals {
  # The part of the provider's ARN after oidc-provider/ is the issuer without its scheme.
  issuer = try(split("oidc-provider/", var.oidc_provider_arn)[1], "")

  trust = {
    irsa = {
      Effect    = "Allow"
      Principal = { Federated = var.oidc_provider_arn }
      Action    = ["sts:AssumeRoleWithWebIdentity"]
      Condition = {
        StringEquals = {
          "${local.issuer}:aud" = "sts.amazonaws.com"
          "${local.issuer}:sub" = "system:serviceaccount:${var.namespace}:${var.service_account}"
        }
      }
    }
    podIdentity = {
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      # EKS asks for both, also if the association has no session tags.
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = {}
    }
    ecs = {
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = ["sts:AssumeRole"]
      Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
    }
    ec2 = {
      Effect    = "Allow"
      Principal = { Service = "ec2.amazonaws.com" }
      Action    = ["sts:AssumeRole"]
      Condition = {}
    }
  }

  # Every call of polony has an encryption context with the name `polony`. KMS refuses calls without it, so nobody uses
  # the keys for something else by mistake.
  has_context = { Null = { "kms:EncryptionContext:polony" = "false" } }
  key_actions = ["kms:GenerateDataKey", "kms:Decrypt"]
}

output "trust_policy" {
  value = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ for name, value in local.trust[var.identity] : name => value if name != "Condition" || length(value) > 0 }]
  })

  precondition {
    condition     = var.identity != "irsa" || local.issuer != ""
    error_message = "Set oidc_provider_arn: with identity = irsa, the role trusts the OIDC provider of the cluster."
  }
}

# No condition on the external ID: polony also tries to assume a role without it, to find roles that anybody may assume.
# A condition here would refuse that attempt, and hide them.
output "identity_policy" {
  value = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid      = "EnterAccounts"
        Effect   = "Allow"
        Action   = "sts:AssumeRole"
        Resource = var.customer_role_arns
      }],
      length(var.key_arns) == 0 ? [] : [{
        Sid       = "EncryptSecrets"
        Effect    = "Allow"
        Action    = local.key_actions
        Resource  = var.key_arns
        Condition = local.has_context
      }],
    )
  })
}

output "key_policy" {
  value = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "Administer"
        Effect    = "Allow"
        Principal = { AWS = "arn:${var.partition}:iam::${var.account_id}:root" }
        Action    = "kms:*"
        Resource  = "*"
      },
      {
        Sid       = "EncryptSecrets"
        Effect    = "Allow"
        Principal = { AWS = var.role_arn }
        Action    = local.key_actions
        Resource  = "*"
        Condition = local.has_context
      },
    ]
  })
}

output "events_trust_policy" {
  value = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "events.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

# Names of rules have at most 64 characters, and bucket names up to 63.
output "event_patterns" {
  value = merge(
    {
      runs = jsonencode({
        source        = ["aws.omics"]
        "detail-type" = ["Run Status Change"]
      })
    },
    {
      for bucket, options in var.event_buckets :
      "uploads-${substr(sha256(bucket), 0, 12)}" => jsonencode({
        source        = ["aws.s3"]
        "detail-type" = ["Object Created"]
        detail = {
          bucket = { name = [bucket] }
          object = {
            key = [
              for file in ["RunUploaded.json", "RunParameters.json"] :
              { wildcard = "${trim(options.prefix, "/") == "" ? "" : "${trim(options.prefix, "/")}/"}*/${file}" }
            ]
          }
        }
      })
    },
  )
}
