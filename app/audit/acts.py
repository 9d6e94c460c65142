"""What is logged: every act that an entry may name. `docs/AUDIT.md` is made of this and of the code that writes it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Act:
    """A kind of entry: what it is called in Korean, and when it is written."""

    label: str
    when: str


ACTS = {
    # Footage
    "grant.given": Act("영상 접속 승인", "somebody was permitted to watch a camera, or the own cameras under a duty"),
    "grant.refused": Act("영상 접속 거절", "somebody asked for a camera and was refused"),
    "grant.renewed": Act("영상 접속 연장", "a grant was prolonged"),
    "grant.shortened": Act("영상 접속 단축", "a grant was given an earlier end, such as when its incident was closed"),
    "grant.revoked": Act("영상 접속 회수", "a grant was ended before its time"),
    "revocation.made": Act("일괄 철회", "somebody ended everything of a camera, person, agency or incident"),
    "view.opened": Act("영상 조회 시작", "before the first byte of a stream or a snapshot leaves"),
    "view.closed": Act("영상 조회 종료", "a view ended: its cause, bytes and seconds"),
    "view.failed": Act("영상 조회 실패", "a permitted view could not begin: the camera gave no picture"),
    "view.continued": Act("단절 중 조회 계속", "an owner's view went on while the database was away"),
    "ptz.opened": Act("카메라 조작 시작", "somebody became the one who turns a camera, or was refused it"),
    "ptz.closed": Act("카메라 조작 종료", "a lease to turn a camera ended: its cause, and all the moves under it"),
    "ptz.taken_back": Act("카메라 조작 회수", "a supervisor ended somebody else's lease to turn a camera"),
    "wall.started": Act("비디오월 시작", "a wall or a tour was started at a console"),
    "wall.stopped": Act("비디오월 종료", "a wall was stopped"),
    "wall.refused": Act("비디오월 거절", "somebody asked for a wall and was refused"),
    "tour.defined": Act("순회 정의", "a tour got a new version"),
    "manifest.sealed": Act("조회 명세 봉인", "an hour of a console's walls was sealed in a manifest"),
    # Rights
    "agreement.made": Act("연계 협약 체결", "a sharing agreement began"),
    "agreement.withdrawn": Act("연계 협약 철회", "an owner withdrew an agreement"),
    "approval.asked": Act("개별 승인 요청", "somebody asked an owner to approve single cameras"),
    "approval.given": Act("개별 승인", "an owner's officer approved"),
    "approval.refused": Act("개별 승인 거부", "an owner's officer refused"),
    "approval.withdrawn": Act("개별 승인 요청 취소", "who asked took it back"),
    "approval.ended": Act("개별 승인 종료", "an approval was ended before its time"),
    # The people's own watch over it
    "conflict.declared": Act(
        "이해충돌 구역 신고", "somebody declared an area where viewing would be a conflict of interest"
    ),
    "conflict.ended": Act("이해충돌 구역 종료", "somebody ended such a declaration of their own"),
    "review.opened": Act(
        "점검 개시", "the review of a month, or of late entries, was opened with its sample and findings"
    ),
    "review.grown": Act("점검 항목 추가", "late entries were added to an open review"),
    "review.assigned": Act("점검 담당자 지정", "an officer was assigned to a review"),
    "review.answered": Act("점검 항목 답변", "a finding was answered: in order, misuse or to be clarified"),
    "review.signed": Act("점검 서명", "a review was signed; the digest of its findings and answers is bound"),
    "review.overdue": Act("점검 기한 경과", "an institution was reminded of a review that is overdue"),
    # Registers and requests
    "provision.recorded": Act(
        "제공 기록", "something provided, used, shown or destroyed outside of live views was written down"
    ),
    "provision.amended": Act("제공 기록 정정", "a provision got another version"),
    "publication.made": Act("목적 외 이용·제공 공고", "what was used and provided out of purpose was made public"),
    "request.received": Act("정보주체 요구 접수", "a data subject's request was written down; never who asks"),
    "request.proved": Act("정보주체 본인 확인", "it was noted how the asker's own footage or office was shown"),
    "request.extended": Act("정보주체 요구 연장", "the answer was put off, once"),
    "request.decided": Act("정보주체 요구 결정", "a request was granted, granted in part or refused"),
    "request.masked": Act("마스킹 사본 작성", "it was noted that others were made unrecognisable in a copy"),
    "request.closed": Act("정보주체 요구 종결", "a decided request was closed"),
    "request.erased": Act("정보주체 정보 파기", "who had asked was forgotten, by an officer or after the period"),
    "request.overdue": Act("정보주체 요구 기한 경과", "an institution was reminded of a request that is overdue"),
    # People and places of work
    "user.added": Act("사용자 등록", "a person or a system got an account"),
    "user.disabled": Act("사용자 정지", "an account was disabled"),
    "credential.changed": Act("비밀번호 변경", "a password was set"),
    "appointment.made": Act("보직 부여", "somebody was appointed to a role at an agency"),
    "appointment.ended": Act("보직 종료", "an appointment ended"),
    "session.opened": Act("로그인", "somebody signed in"),
    "session.refused": Act("로그인 실패", "a login or a password did not fit"),
    "session.closed": Act("로그아웃", "a session ended, by whatever cause"),
    "session.signed_over": Act("근무 교대", "the next person took a running console over, or was refused it"),
    "terminal.enrolled": Act("단말 등록", "a console or a tablet got a device key"),
    "terminal.retired": Act("단말 폐기", "a device key ended"),
    # The register
    "agency.added": Act("기관 등록", "an agency was added"),
    "agency.moved": Act("기관 이동", "an agency was put under another one, with everything below it"),
    "agency_group.formed": Act("기관 그룹 결성", "a group of agencies was formed"),
    "agency_group.changed": Act("기관 그룹 구성 변경", "agencies joined or left a group"),
    "jurisdiction.changed": Act("관할 변경", "the areas in which an agency is competent changed"),
    "area.added": Act("구역 등록", "an agency drew an area of its own"),
    "area.ended": Act("구역 종료", "an agency said on which day its area is valid for the last time"),
    "areas.imported": Act("구역 가져오기", "areas were imported"),
    "camera.added": Act("카메라 등록", "a camera was added to a register by hand"),
    "camera.changed": Act(
        "카메라 정보 변경", "what is known of a camera was changed; the names of the fields are told"
    ),
    "camera.installed": Act("카메라 설치", "a planned camera was installed"),
    "camera.active": Act("카메라 가동", "a camera began to run, or runs again after a fault"),
    "camera.faulty": Act("카메라 장애", "a camera became faulty"),
    "camera.retired": Act("카메라 철거", "a camera's life ended"),
    "device.mounted": Act("기기 교체", "another device took over at a camera's position"),
    "asset.added": Act("시설물 등록", "a bell, a pole, a light, … was added to a register by hand"),
    "asset.changed": Act("시설물 정보 변경", "what is known of an asset was changed; the names of the fields are told"),
    "asset.installed": Act("시설물 설치", "a planned asset was installed"),
    "asset.active": Act("시설물 가동", "an asset began to work, or works again; a pole with what fell with it"),
    "asset.faulty": Act("시설물 장애", "an asset became faulty; a pole with what it carries"),
    "asset.retired": Act("시설물 철거", "an asset's life ended"),
    "outage.began": Act(
        "점검·장애 등록", "a planned outage or a fault of a camera or an asset was told, with its ticket"
    ),
    "outage.ended": Act("점검·장애 종료", "an outage was over"),
    "import.received": Act("파일 접수", "a file was sent to be read for a preview; its digest is told"),
    "import.applied": Act("파일 반영", "a file of cameras or assets became rows of the register"),
    "import.cancelled": Act("파일 반영 취소", "an import was given up before it was applied"),
    "import.undone": Act("파일 반영 되돌리기", "an applied import was taken back, whole"),
    "source.changed": Act("영상 주소 변경", "a camera's source was set or replaced; the address is never told"),
    "control.changed": Act("카메라 제어 주소 변경", "where a camera is spoken with was set; the address is never told"),
    "camera.probed": Act("카메라 조사", "a camera was asked what it is, and how much was learnt"),
    "city.loaded": Act("시연 도시 적재", "the demo's city was loaded"),
    # What events come from and go to
    "event_source.bound": Act("이벤트 출처 등록", "a system was permitted to report events"),
    "event_source.ended": Act("이벤트 출처 종료", "a system may report no more"),
    "webhook.made": Act("웹훅 등록", "events are to be posted to an agency's system"),
    "webhook.changed": Act("웹훅 변경", "a webhook's address or wishes changed"),
    "webhook.paused": Act("웹훅 중지", "a webhook rests, by hand or after failures"),
    "webhook.resumed": Act("웹훅 재개", "a webhook goes on"),
    "webhook.ended": Act("웹훅 종료", "a webhook was ended"),
    "webhook.rotated": Act("웹훅 비밀 교체", "a webhook got a new secret"),
    "webhook.replayed": Act("웹훅 재전송", "events were posted again"),
    "webhook.tested": Act("웹훅 시험", "a test event was posted"),
    # The house itself
    "gateway.drained": Act("게이트웨이 비움", "a media gateway was told to take nobody new"),
    "gateway.resumed": Act("게이트웨이 재개", "a drained gateway takes viewers again"),
    "key.used": Act("열쇠 사용", "a process began to sign and to open sealed addresses with the deployment key"),
    "spool.imported": Act("지연 기록 반입", "what happened while the database was away was written down late"),
    "spool.refused": Act("지연 기록 거부", "a local spool was tampered with, and is kept aside"),
    # Reading
    "audit.read": Act("감사기록 열람", "somebody read entries, or who saw a camera, or what a person saw"),
    "audit.exported": Act("감사기록 반출", "the whole log was written to a file"),
    "register.read": Act("관리대장 열람", "somebody read provisions, or what is due to be published"),
    "register.exported": Act("관리대장 다운로드", "a register was written to a file, whose digest is told"),
    "report.read": Act("통계 열람", "somebody read an institution's statistics"),
    # Erasing
    "erasure.ordered": Act("파기 지시", "an officer ordered that the contents of entries be erased"),
    "erasure.approved": Act("파기 승인", "another officer approved the order"),
    "erasure.refused": Act("파기 거부", "another officer refused the order"),
    "audit.erased": Act(
        "감사기록 내용 파기", "the contents of entries were erased, by order or after the period; names no person"
    ),
    "audit.dropped": Act("감사기록 삭제", "whole months of entries were dropped after the period; names no person"),
}
