# polony's own AWS identity. The roles of your customers trust this account: see docs/how-to/create-the-aws-identity.md.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

# Only documents, and no resource: so they can be tested without AWS.
module "documents" {
  source = "./documents"

  partition          = data.aws_partition.current.partition
  account_id         = data.aws_caller_identity.current.account_id
  identity           = var.identity
  oidc_provider_arn  = var.oidc_provider_arn
  namespace          = var.namespace
  service_account    = var.service_account
  customer_role_arns = var.customer_role_arns
  role_arn           = aws_iam_role.polony.arn
  key_arns           = [for key in aws_kms_key.polony : key.arn]
  event_buckets      = var.event_buckets
}

resource "aws_iam_role" "polony" {
  name                 = var.name
  description          = "polony's own identity"
  assume_role_policy   = module.documents.trust_policy
  max_session_duration = 43200
  tags                 = var.tags
}

resource "aws_iam_role_policy" "polony" {
  name   = var.name
  role   = aws_iam_role.polony.id
  policy = module.documents.identity_policy
}

resource "aws_eks_pod_identity_association" "polony" {
  count = var.identity == "podIdentity" ? 1 : 0

  cluster_name    = var.cluster_name
  namespace       = var.namespace
  service_account = var.service_account
  role_arn        = aws_iam_role.polony.arn
  # Session tags would follow polony into the accounts of its customers, whose roles do not allow sts:TagSession. AWS
  # would refuse every AssumeRole.
  disable_session_tags = true
  tags                 = var.tags

  lifecycle {
    precondition {
      condition     = var.cluster_name != ""
      error_message = "Set cluster_name: with identity = podIdentity, EKS associates the service account with the role."
    }
  }
}

resource "aws_iam_instance_profile" "polony" {
  count = var.identity == "ec2" ? 1 : 0

  name = var.name
  role = aws_iam_role.polony.name
  tags = var.tags
}

resource "aws_kms_key" "polony" {
  for_each = var.keys

  description             = "polony: ${each.key}"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = module.documents.key_policy
  tags                    = var.tags

  lifecycle {
    # Without the key, nobody can read again what it encrypted.
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "polony" {
  for_each = var.keys

  name          = "alias/${var.name}-${each.key}"
  target_key_id = aws_kms_key.polony[each.key].key_id
}
