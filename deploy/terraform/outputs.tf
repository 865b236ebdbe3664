output "role_arn" {
  description = "aws.roleArn of the Helm chart, with irsa"
  value       = aws_iam_role.polony.arn
}

output "trusted_account_id" {
  description = "POLONY_TRUSTED_ACCOUNT_ID, and aws.trustedAccountId of the Helm chart"
  value       = data.aws_caller_identity.current.account_id
}

output "instance_profile" {
  description = "Instance profile, with ec2"
  value       = one(aws_iam_instance_profile.polony[*].name)
}

output "key_arns" {
  description = "ARNs of the KMS keys, for POLONY_ENCRYPTION_KEYS=k1=<arn> and POLONY_PAYLOAD_KEYS=p1=<arn>"
  value       = { for name, key in aws_kms_key.polony : name => key.arn }
}
